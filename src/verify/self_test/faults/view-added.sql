-- title: a new view shows a table past its policies
select r.label as object,
       format('create view %I.kinedb_view as select * from %s; grant select on %I.kinedb_view to %s', n.nspname, r.oid::regclass, n.nspname, a.oid::regrole) as sql,
       array['kinedb_view', n.nspname || '.kinedb_view'] as names
from relation r
join pg_catalog.pg_namespace n on n.oid = r.schema, (select * from acting where scope = 'tenant' order by name limit 1) a
where r.tenanted and r.stored and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and has_schema_privilege(a.oid, n.oid, 'USAGE')
  and exists (select from pg_catalog.pg_roles where rolname = current_user and (rolsuper or rolbypassrls))
