-- Rows that this transaction has updated or deleted, per table in the order given; partitions count for their parent.
select coalesce((
  select sum(s.n_tup_upd + s.n_tup_del)
  from pg_catalog.pg_stat_xact_all_tables s
  where s.relid = to_regclass(t.name)
     or s.relid in (select relid from pg_catalog.pg_partition_tree(to_regclass(t.name)))), 0)::int8
from unnest(array[:tables]::text[]) with ordinality t (name, place)
order by t.place
