-- Every table that holds rows of its own or of its partitions, with the column that names the tenant, if it has one.
-- $1: the names such a column may have, the most wanted first.
select n.nspname::text, c.relname::text,
  (select a.attname::text from unnest($1::text[]) with ordinality w (name, place)
     join pg_attribute a on a.attrelid = c.oid and a.attname = w.name and a.attnum > 0 and not a.attisdropped
    order by w.place limit 1),
  has_table_privilege(c.oid, 'SELECT')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1, 2
