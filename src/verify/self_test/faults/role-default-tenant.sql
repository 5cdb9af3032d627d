-- title: a role of the application gets a tenant by default
select a.name as object, format('alter role %s set %I = %L', a.oid::regrole, s.name, t.id) as sql, array[s.name] as names
from acting a, (select name from setting where in_context order by name limit 1) s,
     (select x as id from scope, jsonb_array_elements_text(j->'tenants'->'sample') x limit 1) t
where a.scope = 'tenant'
