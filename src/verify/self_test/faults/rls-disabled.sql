-- title: row level security is switched off
select r.label as object, format('alter table %s disable row level security', r.oid::regclass) as sql
from relation r
where r.tenanted and r.kind in ('table', 'partitioned-table') and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and exists (select from can c where c.relation = r.oid and c.rank <= 4)
