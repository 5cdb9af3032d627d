-- title: a new table with a tenant column has no row level security
select n.nspname || '.kinedb_table' as object,
       format('create table %I.kinedb_table (%I %s not null, line text); grant select, insert on %I.kinedb_table to %s', n.nspname, r.key, r.key_type, n.nspname, a.oid::regrole) as sql,
       array['kinedb_table'] as names
from (select distinct on (schema) * from relation where key is not null and stored and tenanted order by schema, oid) r
join pg_catalog.pg_namespace n on n.oid = r.schema, (select * from acting where scope = 'tenant' order by name limit 1) a
where has_schema_privilege(a.oid, n.oid, 'USAGE')
