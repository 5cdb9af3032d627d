-- title: a role may set a sequence of a tenants' table
select c.relname as object, format('grant all on sequence %s to %s', c.oid::regclass, a.oid::regrole) as sql, array[n.nspname || '.' || c.relname] as names
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace, (select * from acting where scope = 'tenant' order by name limit 1) a
where c.relkind = 'S' and not has_sequence_privilege(a.oid, c.oid, 'UPDATE') and has_schema_privilege(a.oid, n.oid, 'USAGE')
  and exists (select from pg_catalog.pg_depend d join relation r on r.oid = d.refobjid and r.tenanted
              where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_catalog.pg_class'::regclass)
