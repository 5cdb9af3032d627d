-- title: a role of the application can become one with BYPASSRLS
select a.name as object, format('create role kinedb_unbound bypassrls; grant kinedb_unbound to %s', a.oid::regrole) as sql, array['kinedb_unbound'] as names
from acting a where a.scope = 'tenant'
