-- Columns of tables and composite types; of views only what can be set on them.
select 'column ' || r.name || '.' || quote_ident(a.attname) as object, r.object as parent, v.attribute, v.value
from rels r
join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
cross join lateral (values
  ('type', case when r.relkind not in ('v', 'm') then format_type(a.atttypid, a.atttypmod) end),
  ('not null', case when a.attnotnull then 'yes' end),
  ('default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end),
  ('generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) || case a.attgenerated when 's' then ' stored' else ' virtual' end end),
  ('identity', case when a.attidentity <> '' then (
    select format('%s %s start %s minimum %s maximum %s increment %s cache %s%s', case a.attidentity when 'a' then 'always' else 'by default' end,
      format_type(q.seqtypid, null), q.seqstart, q.seqmin, q.seqmax, q.seqincrement, q.seqcache, case when q.seqcycle then ' cycle' else '' end)
    from pg_depend p join pg_sequence q on q.seqrelid = p.objid
    where p.classid = 'pg_class'::regclass and p.refclassid = 'pg_class'::regclass and p.refobjid = r.oid and p.refobjsubid = a.attnum and p.deptype = 'i') end),
  ('collation', case when a.attcollation <> t.typcollation and r.relkind not in ('v', 'm') then (
    select format('%I.%I', n.nspname, c.collname) from pg_collation c join pg_namespace n on n.oid = c.collnamespace where c.oid = a.attcollation) end),
  ('storage', case when t.typstorage <> a.attstorage and r.relkind not in ('v', 'm') then
    case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end end),
  ('compression', case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end),
  -- 17 and newer say null for what was -1.
  ('statistics target', nullif(a.attstattarget::int, -1)::text),
  -- Newer minor releases keep a number of their own there, another one in each database.
  ('options', (select string_agg(o, ', ' order by o) from unnest(a.attoptions) o where o !~ '^pg_')),
  ('foreign options', (select string_agg(o, ', ' order by o) from unnest(a.attfdwoptions) o)),
  ('inherited', case when not a.attislocal and not r.relispartition then 'yes' end)
) v (attribute, value)
where v.value is not null and r.relkind <> 'S'
