-- Functions, procedures, aggregates, operators.
select f.object, null::text as parent, v.attribute, v.value
from funs f
left join pg_aggregate g on g.aggfnoid = f.oid
cross join lateral (values
  ('owner', f.proowner::regrole::text),
  ('arguments', nullif(pg_get_function_arguments(f.oid), '')),
  ('returns', pg_get_function_result(f.oid)),
  ('language', (select l.lanname::text from pg_language l where l.oid = f.prolang)),
  ('window', case when f.prokind = 'w' then 'yes' end),
  ('security', case when f.prosecdef then 'definer' else 'invoker' end),
  ('volatility', case f.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end),
  ('strict', case when f.proisstrict then 'yes' end),
  ('leakproof', case when f.proleakproof then 'yes' end),
  ('parallel', case f.proparallel when 's' then 'safe' when 'r' then 'restricted' end),
  ('cost', f.procost::text),
  ('rows', nullif(f.prorows, 0)::text),
  ('support', nullif(f.prosupport, 0)::regprocedure::text),
  ('settings', (select string_agg(c, '; ' order by c) from unnest(f.proconfig) c)),
  ('body', case when f.prokind <> 'a' then coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) end),
  ('library', f.probin),
  ('transition', g.aggtransfn::regprocedure::text || ' over ' || format_type(g.aggtranstype, null) || coalesce(' from ' || g.agginitval, '')),
  ('final', nullif(g.aggfinalfn, 0)::regprocedure::text),
  ('combine', nullif(g.aggcombinefn, 0)::regprocedure::text),
  ('~definition', case when f.prokind <> 'a' then pg_get_functiondef(f.oid) end)
) v (attribute, value)
where v.value is not null
union all
select 'operator ' || format('%I.%s (%s, %s)', s.nspname, o.oprname, coalesce(format_type(nullif(o.oprleft, 0), null), 'none'), format_type(o.oprright, null)), null, v.attribute, v.value
from pg_operator o join spaces s on s.oid = o.oprnamespace
cross join lateral (values
  ('owner', o.oprowner::regrole::text),
  ('function', o.oprcode::regproc::text),
  ('result', format_type(o.oprresult, null)),
  ('properties', nullif(concat_ws(', ', case when o.oprcanmerge then 'merges' end, case when o.oprcanhash then 'hashes' end,
    'commutator ' || nullif(o.oprcom, 0)::regoper::text, 'negator ' || nullif(o.oprnegate, 0)::regoper::text,
    'restrict ' || nullif(o.oprrest, 0)::regproc::text, 'join ' || nullif(o.oprjoin, 0)::regproc::text), ''))
) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_operator'::regclass and d.objid = o.oid and d.deptype = 'e')
union all
select format('operator class %I.%I for %s', s.nspname, c.opcname, (select a.amname from pg_am a where a.oid = c.opcmethod)), null, v.attribute, v.value
from pg_opclass c join spaces s on s.oid = c.opcnamespace
cross join lateral (values
  ('owner', c.opcowner::regrole::text), ('type', format_type(c.opcintype, null)), ('default', case when c.opcdefault then 'yes' end),
  ('operators', (select string_agg(format('%s %s', o.amopstrategy, o.amopopr::regoperator), ', ' order by o.amopstrategy) from pg_amop o
    where o.amopfamily = c.opcfamily and o.amoplefttype = c.opcintype)),
  ('functions', (select string_agg(format('%s %s', p.amprocnum, p.amproc), ', ' order by p.amprocnum) from pg_amproc p
    where p.amprocfamily = c.opcfamily and p.amproclefttype = c.opcintype))
) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_opclass'::regclass and d.objid = c.oid and d.deptype = 'e')
