-- title: a new parent table shows the rows of its children
select r.label as object,
       format('create table %I.kinedb_parent (); alter table %s inherit %I.kinedb_parent; grant select on %I.kinedb_parent to %s; alter table %I.kinedb_parent add column kinedb_line text',
              n.nspname, r.oid::regclass, n.nspname, n.nspname, a.oid::regrole, n.nspname) as sql,
       array['kinedb_parent', n.nspname || '.kinedb_parent'] as names
from relation r
join pg_catalog.pg_namespace n on n.oid = r.schema, (select * from acting where scope = 'tenant' order by name limit 1) a
where r.tenanted and r.kind = 'table' and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and has_schema_privilege(a.oid, n.oid, 'USAGE')
