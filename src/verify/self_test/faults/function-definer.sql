-- title: a SECURITY DEFINER function returns the rows of a table
select r.label as object,
       format('create function %I.kinedb_rows() returns setof %s language sql stable security definer set search_path = pg_catalog, pg_temp as %L; grant execute on function %I.kinedb_rows() to %s',
              n.nspname, r.oid::regclass, format('select * from %I.%I', n.nspname, k.relname), n.nspname, a.oid::regrole) as sql,
       array['kinedb_rows()', n.nspname || '.kinedb_rows()'] as names
from relation r
join pg_catalog.pg_class k on k.oid = r.oid
join pg_catalog.pg_namespace n on n.oid = r.schema, (select * from acting where scope = 'tenant' order by name limit 1) a
where r.tenanted and r.stored and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and has_schema_privilege(a.oid, n.oid, 'USAGE')
  and exists (select from pg_catalog.pg_roles where rolname = current_user and (rolsuper or rolbypassrls))
