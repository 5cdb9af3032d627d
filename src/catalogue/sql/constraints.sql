-- Constraints, indexes, extended statistics.
select c.object, c.parent, v.attribute, v.value
from cons c
left join pg_index x on x.indexrelid = c.conindid and c.contype in ('p', 'u', 'x')
left join pg_class i on i.oid = x.indexrelid
cross join lateral (values
  ('definition', pg_get_constraintdef(c.oid)),
  -- `alter table .. disable trigger all` switches references off, too.
  ('triggers', (select case when count(*) > 0 then 'disabled' end from pg_trigger t
    where t.tgconstraint = c.oid and t.tgisinternal and t.tgenabled = 'D')),
  -- What the definition does not say of the index behind it.
  ('index', nullif(concat_ws(', ', (select string_agg(o, ', ' order by o) from unnest(i.reloptions) o),
    case when not x.indisvalid then 'invalid' end, case when x.indisclustered then 'clustered' end,
    case when x.indisreplident then 'replica identity' end,
    (select 'tablespace ' || s.spcname from pg_tablespace s where s.oid = i.reltablespace)), '')),
  ('inherited', case when not c.conislocal and not c.of_partition then 'yes' end)
) v (attribute, value)
where v.value is not null
union all
select 'index ' || format('%I.%I', n.nspname, i.relname), r.object, v.attribute, v.value
from pg_index x join rels r on r.oid = x.indrelid join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
cross join lateral (values
  ('definition', pg_get_indexdef(x.indexrelid)),
  ('valid', case when not x.indisvalid or not x.indisready or not x.indislive then 'no' end),
  ('clustered', case when x.indisclustered then 'yes' end),
  ('replica identity', case when x.indisreplident then 'yes' end),
  ('tablespace', (select s.spcname::text from pg_tablespace s where s.oid = i.reltablespace)),
  ('statistics targets', (select nullif(string_agg(a.attnum || ':' || a.attstattarget, ', ' order by a.attnum)
      filter (where a.attstattarget <> -1), '') from pg_attribute a where a.attrelid = i.oid)),
  ('partition of', (select h.inhparent::regclass::text from pg_inherits h where h.inhrelid = i.oid))
) v (attribute, value)
where v.value is not null and not exists (select from pg_constraint c where c.conindid = x.indexrelid and c.contype in ('p', 'u', 'x'))
union all
select format('statistics %I.%I', n.nspname, s.stxname), r.object, v.attribute, v.value
from pg_statistic_ext s join rels r on r.oid = s.stxrelid join pg_namespace n on n.oid = s.stxnamespace
cross join lateral (values
  ('definition', pg_get_statisticsobjdef(s.oid)),
  ('owner', s.stxowner::regrole::text),
  ('target', nullif(s.stxstattarget::int, -1)::text)
) v (attribute, value)
where v.value is not null
