-- title: a foreign key no longer holds the tenant
select r.label as object,
       format('alter table %s add constraint kinedb_unique unique (%s); alter table %s drop constraint %I, add constraint kinedb_reference foreign key (%s) references %s (%s)',
              p.oid::regclass, k.keys, r.oid::regclass, f.conname, k.own, p.oid::regclass, k.keys) as sql,
       array[p.label] as names
from pg_catalog.pg_constraint f
join relation r on r.oid = f.conrelid and r.tenanted and r.kind = 'table'
join relation p on p.oid = f.confrelid and p.tenanted and p.kind = 'table' and p.oid <> r.oid
cross join lateral (
  select string_agg(quote_ident(c.attname), ', ' order by x.n) as own, string_agg(quote_ident(d.attname), ', ' order by x.n) as keys, count(*) as n
  from unnest(f.conkey, f.confkey) with ordinality x(own, key, n)
  join pg_catalog.pg_attribute c on c.attrelid = f.conrelid and c.attnum = x.own
  join pg_catalog.pg_attribute d on d.attrelid = f.confrelid and d.attnum = x.key
  where c.attname <> coalesce(r.key, '') and d.attname <> coalesce(p.key, '')) k
where f.contype = 'f' and k.n > 0 and k.n < cardinality(f.conkey)
  and not exists (select from pg_catalog.pg_inherits i where i.inhrelid in (r.oid, p.oid))
  and exists (select from can c where c.relation = r.oid and c.privilege in ('INSERT', 'UPDATE')
              and has_any_column_privilege(c.member, r.oid, c.privilege))
