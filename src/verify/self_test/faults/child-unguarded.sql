-- title: a new child table holds rows of the tenants without policies
select r.label as object,
       format('create table %I.kinedb_child () inherits (%s); grant select on %I.kinedb_child to %s', n.nspname, r.oid::regclass, n.nspname, a.oid::regrole) as sql,
       array['kinedb_child', n.nspname || '.kinedb_child'] as names
from relation r
join pg_catalog.pg_namespace n on n.oid = r.schema, (select * from acting where scope = 'tenant' order by name limit 1) a
where r.tenanted and r.kind = 'table' and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and has_schema_privilege(a.oid, n.oid, 'USAGE')
