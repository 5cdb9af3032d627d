-- In another database: tables of the same names that hold rows and that a role may read unbound.
select pg_catalog.format('%s.%s', n.nspname, c.relname), min(r.rolname)::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname !~ '^pg_'
join pg_catalog.pg_roles r on r.rolname = any ($1) and not r.rolsuper
where c.relkind in ('r', 'p', 'm') and c.relname = any ($2) and not c.relrowsecurity
  and pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE') and pg_catalog.has_any_column_privilege(r.oid, c.oid, 'SELECT')
  and (c.relkind = 'p' or pg_catalog.pg_relation_size(c.oid) > 0)
group by n.nspname, c.relname
order by 1
