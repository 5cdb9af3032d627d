-- What rows are made of, as a json value: of the relations $1, or of all where that is null.
with wanted as materialized (
  select unnest($1::oid[]) as oid
  union all
  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where $1 is null and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
),
wanted_types as materialized (
  select distinct a.atttypid as oid from pg_attribute a where a.attrelid in (select oid from wanted) and a.attnum > 0
),
domains as (
  -- through domains over domains
  with recursive down as (
    select t.oid, t.typbasetype as base from wanted_types w join pg_type t on t.oid = w.oid where t.typtype = 'd'
    union all
    select down.oid, n.typbasetype from down join pg_type n on n.oid = down.base where n.typtype = 'd')
  select down.oid, down.base from down join pg_type b on b.oid = down.base where b.typtype <> 'd'
),
base as materialized (
  select w.oid, b.oid as base, b.typname, b.typtype, b.typcategory, b.typelem
    from wanted_types w left join domains d on d.oid = w.oid join pg_type b on b.oid = coalesce(d.base, w.oid)
)
select json_build_object(
'columns', (select coalesce(json_agg(json_build_object(
    'relation', a.attrelid::bigint, 'number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
    'base', b.typname, 'base_type', format_type(b.base, case when t.typtype = 'd' then t.typtypmod else a.atttypmod end),
    'kind', b.typtype, 'category', b.typcategory, 'domain', t.typtype = 'd',
    'element', case when b.typcategory = 'A' then format_type(b.typelem, null) end,
    'modifier', case when t.typtype = 'd' then t.typtypmod else a.atttypmod end,
    'not_null', a.attnotnull or t.typnotnull, 'has_default', a.atthasdef and a.attgenerated = '' or (t.typdefault is not null),
    'generated', a.attgenerated <> '', 'identity', a.attidentity,
    'default', case when a.atthasdef and a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
    'expression', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
    'labels', (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = b.base)
  ) order by a.attrelid, a.attnum), '[]')
  from pg_attribute a join pg_type t on t.oid = a.atttypid join base b on b.oid = a.atttypid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid in (select oid from wanted) and a.attnum > 0 and not a.attisdropped),
'domain_checks', (select coalesce(json_agg(json_build_object('type', format_type(c.contypid, null),
    'check', pg_get_expr(c.conbin, 0))), '[]')
  from pg_constraint c where c.contype = 'c' and c.contypid <> 0 and exists (select from base b where b.oid = c.contypid)),
'uniques', (select coalesce(json_agg(json_build_object('relation', i.indrelid::bigint, 'name', ic.relname, 'primary', i.indisprimary, 'partial', i.indpred is not null,
     'plain', i.indexprs is null and i.indpred is null and i.indimmediate and not i.indisexclusion,
     'columns', (select coalesce(json_agg(a.attname order by k.n), '[]') from unnest(i.indkey::int2[]) with ordinality k(num, n)
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num where k.n <= i.indnkeyatts))), '[]')
  from pg_index i join pg_class ic on ic.oid = i.indexrelid
  where (i.indisunique or i.indisexclusion) and i.indrelid in (select oid from wanted)),
'rules', (select coalesce(json_agg(json_build_array(w.ev_class::bigint, case w.ev_type when '2' then 'w' when '3' then 'a' else 'd' end)), '[]')
  from pg_rewrite w where w.is_instead and w.ev_type <> '1' and w.ev_enabled <> 'D' and w.ev_class in (select oid from wanted)))
