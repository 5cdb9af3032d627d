-- title: a materialised view holds a copy of a table
select r.label as object,
       format('create materialized view %I.kinedb_copy as select * from %s limit 1000; grant select on %I.kinedb_copy to %s', n.nspname, r.oid::regclass, n.nspname, a.oid::regrole) as sql,
       array['kinedb_copy', n.nspname || '.kinedb_copy'] as names
from relation r
join pg_catalog.pg_namespace n on n.oid = r.schema, (select * from acting where scope = 'tenant' order by name limit 1) a
where r.tenanted and r.stored and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and has_schema_privilege(a.oid, n.oid, 'USAGE')
