-- title: a role of the application becomes a superuser
select a.name as object, format('alter role %s superuser', a.oid::regrole) as sql from acting a where a.scope = 'tenant'
