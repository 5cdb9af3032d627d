-- Enums, domains, ranges, composite types, collations, text search.
select t.object, null::text as parent, v.attribute, v.value
from typs t
cross join lateral (values
  ('owner', case when t.typtype <> 'c' then t.typowner::regrole::text end),
  ('labels', (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid)),
  ('base type', case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end),
  ('not null', case when t.typtype = 'd' and t.typnotnull then 'yes' end),
  ('default', case when t.typtype = 'd' then t.typdefault end),
  ('collation', case when t.typtype = 'd' and t.typcollation <> (select b.typcollation from pg_type b where b.oid = t.typbasetype)
    then (select format('%I.%I', n.nspname, c.collname) from pg_collation c join pg_namespace n on n.oid = c.collnamespace where c.oid = t.typcollation) end),
  ('subtype', (select format_type(g.rngsubtype, null) from pg_range g where g.rngtypid = t.oid)),
  ('input', case when t.typtype = 'b' then t.typinput::regproc::text end)
) v (attribute, value)
where v.value is not null
union all
select format('collation %I.%I', s.nspname, c.collname), null, v.attribute, v.value
from pg_collation c join spaces s on s.oid = c.collnamespace
cross join lateral (values
  ('owner', c.collowner::regrole::text), ('provider', c.collprovider::text),
  ('locale', coalesce(to_jsonb(c) ->> 'colliculocale', to_jsonb(c) ->> 'colllocale', c.collcollate)),
  ('deterministic', case when c.collisdeterministic then 'yes' else 'no' end)
) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_collation'::regclass and d.objid = c.oid and d.deptype = 'e')
union all
select format('text search configuration %I.%I', s.nspname, c.cfgname), null, v.attribute, v.value
from pg_ts_config c join spaces s on s.oid = c.cfgnamespace
cross join lateral (values
  ('owner', c.cfgowner::regrole::text),
  ('mappings', (select string_agg(m.maptokentype || ' ' || m.mapdict::regdictionary, ', ' order by m.maptokentype, m.mapseqno) from pg_ts_config_map m where m.mapcfg = c.oid))
) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_ts_config'::regclass and d.objid = c.oid and d.deptype = 'e')
union all
select format('text search dictionary %I.%I', s.nspname, c.dictname), null, v.attribute, v.value
from pg_ts_dict c join spaces s on s.oid = c.dictnamespace
cross join lateral (values ('owner', c.dictowner::regrole::text), ('options', c.dictinitoption)) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_ts_dict'::regclass and d.objid = c.oid and d.deptype = 'e')
