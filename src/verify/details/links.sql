-- How relations hang together, as a json value: of the relations $1, or of all where that is null.
with wanted as materialized (
  select unnest($1::oid[]) as oid
  union all
  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where $1 is null and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
),
-- Made first: the texts of all the rules there are, those of the server's own views among them, cost more than the rest.
asking as materialized (
  select r.oid, r.ev_class, r.ev_action::text as action from pg_rewrite r where r.ev_class in (select oid from wanted)
)
select json_build_object(
'references', (select coalesce(json_agg(json_build_object('relation', c.conrelid::bigint, 'name', c.conname, 'parent', c.confrelid::bigint,
     'columns', (select json_agg(a.attname order by k.n) from unnest(c.conkey) with ordinality k(num, n) join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num),
     'keys', (select json_agg(a.attname order by k.n) from unnest(c.confkey) with ordinality k(num, n) join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.num),
     'on_delete', c.confdeltype, 'on_update', c.confupdtype, 'deferrable', c.condeferrable, 'valid', c.convalidated)), '[]')
  from pg_constraint c where c.contype = 'f' and c.conparentid = 0 and (c.conrelid in (select oid from wanted))),
'triggers', (select coalesce(json_agg(distinct t.tgrelid::bigint), '[]') from pg_trigger t
  where not t.tgisinternal and t.tgenabled <> 'D' and t.tgrelid in (select oid from wanted)),
'uses', (select coalesce(json_agg(distinct jsonb_build_array(r.ev_class::bigint, d.refobjid::bigint)), '[]')
  from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  where r.ev_class in (select oid from wanted) and d.refobjid <> r.ev_class),
'invokers', (select coalesce(json_agg(c.oid::bigint), '[]') from pg_class c, pg_options_to_table(c.reloptions) o
  where c.relkind = 'v' and c.oid in (select oid from wanted) and o.option_name = 'security_invoker' and o.option_value::boolean),
-- Columns that a view asks to hold something; few views ask that, and only their texts are made.
'asked', (select coalesce(json_agg(distinct jsonb_build_array(a.attrelid::bigint, a.attname)), '[]')
  from asking r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid and a.attnum > 0 and not a.attnotnull
  where d.refobjid <> r.ev_class and r.action like '%{NULLTEST%:nulltesttype 1%'
    and strpos(pg_get_viewdef(r.ev_class), quote_ident(a.attname) || ' IS NOT NULL') > 0),
'unbound_owners', (select coalesce(json_agg(o.oid::bigint), '[]') from pg_roles o where (o.rolsuper or o.rolbypassrls) and (
  o.oid in (select c.relowner from pg_class c where c.relkind = 'v' and c.oid in (select oid from wanted))
  or o.oid in (select p.proowner from pg_proc p where p.prosecdef and p.prorettype = 'trigger'::regtype))),
-- Of views that no policy binds, what they themselves ask of a row.
'definitions', (select coalesce(json_agg(json_build_array(c.oid::bigint, pg_get_viewdef(c.oid))), '[]') from pg_class c join pg_roles o on o.oid = c.relowner
  where c.relkind = 'v' and c.oid in (select oid from wanted) and (o.rolsuper or o.rolbypassrls)
    and not exists (select from pg_options_to_table(c.reloptions) i where i.option_name = 'security_invoker' and i.option_value::boolean)))
