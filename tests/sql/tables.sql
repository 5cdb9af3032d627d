select c.relname, obj_description(c.oid, 'pg_class'),
  c.relowner::regrole
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and c.relname not in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')
order by c.oid
