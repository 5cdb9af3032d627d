-- Tables, views, sequences and composite types, without their columns.
select r.object, null::text as parent, v.attribute, v.value
from rels r
left join lateral (
  select format('%s.%I', d.refobjid::regclass, a.attname) as column from pg_depend d
  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where r.relkind = 'S' and d.classid = 'pg_class'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass and d.deptype = 'a'
) owned on true
left join pg_sequence q on q.seqrelid = r.oid
cross join lateral (values
  -- An owned sequence has the owner of its table.
  ('owner', case when owned.column is null then r.relowner::regrole::text end),
  ('kind', case when r.relkind = 'c' then 'composite' end),
  ('row security', case when r.relkind in ('r', 'p') then case when r.relrowsecurity then 'enabled' else 'disabled' end end),
  ('force row security', case when r.relkind in ('r', 'p') then case when r.relforcerowsecurity then 'forced' else 'not forced' end end),
  ('persistence', case r.relpersistence when 'u' then 'unlogged' when 't' then 'temporary' end),
  ('options', (select string_agg(o, ', ' order by o) from unnest(r.reloptions) o)),
  ('toast options', (select string_agg(o, ', ' order by o) from pg_class t cross join unnest(t.reloptions) o where t.oid = r.reltoastrelid)),
  ('partitioned by', case when r.relkind = 'p' then pg_get_partkeydef(r.oid) end),
  ('inherits', (select string_agg(i.inhparent::regclass::text, ', ' order by i.inhseqno) from pg_inherits i where i.inhrelid = r.oid and not r.relispartition)),
  ('partition of', case when r.relispartition then (select i.inhparent::regclass::text || ' ' from pg_inherits i where i.inhrelid = r.oid) || pg_get_expr(r.relpartbound, r.oid) end),
  ('of type', nullif(r.reloftype, 0)::regtype::text),
  ('replica identity', case when r.relkind in ('r', 'p') then case r.relreplident when 'n' then 'nothing' when 'f' then 'full' end end),
  ('access method', case when r.relkind in ('r', 'm') then (select nullif(a.amname, 'heap')::text from pg_am a where a.oid = r.relam) end),
  ('tablespace', (select t.spcname::text from pg_tablespace t where t.oid = r.reltablespace)),
  ('definition', case when r.relkind in ('v', 'm') then pg_get_viewdef(r.oid) end),
  ('populated', case when r.relkind = 'm' and not r.relispopulated then 'no' end),
  ('server', case when r.relkind = 'f' then (select quote_ident(s.srvname) || coalesce(' options ' || array_to_string(f.ftoptions, ', '), '')
     from pg_foreign_table f join pg_foreign_server s on s.oid = f.ftserver where f.ftrelid = r.oid) end),
  ('owned by', owned.column),
  ('data type', format_type(q.seqtypid, null)),
  ('start', q.seqstart::text),
  ('minimum', q.seqmin::text),
  ('maximum', q.seqmax::text),
  ('increment', q.seqincrement::text),
  ('cache', q.seqcache::text),
  ('cycle', case when q.seqcycle then 'yes' end),
  -- Compared for the columns that both sides have, so that a column that comes or goes is one line.
  ('column order', case when r.relkind in ('r', 'p', 'c', 'f') then (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
     from pg_attribute a where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped) end),
  ('~uses', case when r.relkind in ('v', 'm') then (
    select string_agg(distinct format('%s.%I', d.refobjid::regclass, a.attname), E'\n')
    from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.oid
    left join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid and d.refobjsubid <> 0
    where w.ev_class = r.oid) end)
) v (attribute, value)
where v.value is not null
