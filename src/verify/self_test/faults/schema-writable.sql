-- title: a role may create objects in a schema
-- weight: warning
select n.nspname as object, format('grant create on schema %I to %s', n.nspname, a.oid::regrole) as sql
from scope, jsonb_array_elements_text(j->'schemas') s
join pg_catalog.pg_namespace n on n.nspname = s, (select * from acting where scope = 'tenant' order by name limit 1) a
where exists (select from relation r where r.schema = n.oid and r.tenanted) and not has_schema_privilege(a.oid, n.oid, 'CREATE')
