-- title: a function that the application may call reaches all tenants
-- severity: error
-- why: SECURITY DEFINER runs with the owner's rights, EXECUTE is granted to PUBLIC by default, and no policy binds this owner. Operators, casts, aggregates, defaults and checks call it as well.
-- bad: create function search(q text) returns setof patients security definer as $$ select * from patients ... $$
-- good: the same as SECURITY INVOKER
-- fix: Make it SECURITY INVOKER, give it an owner that FORCE binds, or revoke EXECUTE.
-- source: PostgreSQL manual, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely"
-- excepts: definer
-- needs: definers
select f.label as object, c.acting_name as role, 'execute' as action,
       format('it runs as `%s`%s; `%s` may call it%s', f.owner_name,
              case when t.tables is null then case when f.opaque then ', which no policy binds, and its text cannot be read' else ', which no policy binds, and it runs text that it puts together' end
                   else format(', %s, and %s %s', t.why, case when t.writes then 'writes to' else 'reads' end, t.tables) end,
              c.acting_name, coalesce((select ', also by ' || string_agg(u.what, ', ') from (
                 select format('the operator `%s`', o.oprname) as what from pg_catalog.pg_operator o where o.oprcode = f.oid
                 union all select format('the aggregate `%s`', a.aggfnoid::regproc) from pg_catalog.pg_aggregate a where f.oid in (a.aggtransfn, a.aggfinalfn)
                 union all select format('the cast from `%s`', format_type(k.castsource, null)) from pg_catalog.pg_cast k where k.castfunc = f.oid
                 union all select format('the constraint `%s` of `%s`', k.conname, k.conrelid::regclass) from pg_catalog.pg_depend d join pg_catalog.pg_constraint k on d.classid = 'pg_catalog.pg_constraint'::regclass and d.objid = k.oid
                   where d.refclassid = 'pg_catalog.pg_proc'::regclass and d.refobjid = f.oid) u), '') || c.via) as detail,
       format('alter %s %s security invoker;', case f.kind when 'p' then 'procedure' else 'function' end, f.label) as fix,
       case when t.tables is null then true end as unproven,
       case when t.tables is null and not f.opaque and f.settings && (select array_agg(name) from setting) then 'note' end as severity
from callable c
join routine f on f.oid = c.function and f.definer
left join lateral (
  select string_agg(distinct '`' || r.label || '`', ', ') as tables, min(x.why) as why, bool_or(x.relation = any (f.writes)) as writes
  from free x join relation r on r.oid = x.relation
  where x.role = f.owner
    and (x.relation = any (f.reads)
         or exists (select from walk w where w.root = any (f.reads) and w.base = x.relation))
) t on true
where (t.tables is not null and not exists (select from setting s where s.name = any (f.settings))
   or t.tables is null and f.unbound and (f.opaque or f.dynamic))
