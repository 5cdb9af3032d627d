-- title: a second policy opens rows that hold a certain value
select distinct on (r.oid) r.label as object,
       format('create policy kinedb_some on %s for select to %s using (%I = ''kinedb: for everybody'')', r.oid::regclass, c.acting::regrole, a.attname) as sql
from relation r
join can c on c.relation = r.oid and c.itself and c.privilege = 'SELECT'
join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped and a.atttypid = 'text'::regtype and a.attname <> coalesce(r.key, '')
where r.tenanted and r.stored and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and not exists (select from closed x where x.acting = c.acting and x.relation = r.oid and x.privilege = 'SELECT')
order by r.oid, a.attnum
