-- title: a role of the application gets BYPASSRLS
select a.name as object, format('alter role %s bypassrls', a.oid::regrole) as sql from acting a where a.scope = 'tenant'
