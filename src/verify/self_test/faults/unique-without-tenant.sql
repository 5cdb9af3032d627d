-- title: a unique key does not hold the tenant
select r.label as object,
       format('alter table %s add column kinedb_code text; grant select (kinedb_code), insert (kinedb_code) on %s to %s; create unique index kinedb_unique on %s (kinedb_code)',
              r.oid::regclass, r.oid::regclass, c.acting::regrole, r.oid::regclass) as sql
from relation r
join (select distinct acting, relation from can where itself and privilege = 'INSERT') c on c.relation = r.oid
where r.tenanted and r.kind = 'table' and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
