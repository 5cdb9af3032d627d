-- title: a function that the application may call reaches all tenants
-- severity: error
-- why: SECURITY DEFINER runs with the owner's rights, EXECUTE is granted to PUBLIC by default, and no policy binds this owner, or the owner may take the policies away. Operators, casts, aggregates, defaults and checks call it as well.
-- bad: create function search(q text) returns setof patients security definer as $$ select * from patients ... $$
-- good: the same as SECURITY INVOKER
-- fix: Make it SECURITY INVOKER, give it an owner that FORCE binds, or revoke EXECUTE.
-- source: PostgreSQL manual, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely"
-- excepts: definer
-- needs: definer-bodies
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
   -- A way into the tenant that its caller names may look whether there is one: no row comes back.
   and not (f.void and f.writes = '{}' and coalesce(f.sets && (select array_agg(name) from setting where in_context), false))
   -- Where the role is the context, a function that asks who is connected reads it.
   and not (f.session and exists (select from scope where j->>'no_context' = 'none'))
   or t.tables is null and f.unbound and (f.opaque or f.dynamic))
union all
-- Policies bind this owner, who may take them away: by a command of the text, or by one that the caller puts into it.
select f.label, c.acting_name, 'execute',
       format('it runs as `%s`, %s %s, and %s%s', f.owner_name, case when f.unbound then 'whom no policy binds in' when o.own then 'who owns' else 'who sees any tenant''s rows of' end, t.tables,
              case when f.unguards is not null then format('runs `%s`', f.unguards)
                   else format('makes a part of a command of its argument `%s`, unquoted: who calls it runs what it likes as that owner', f.spliced) end, c.via),
       case when f.unguards is not null then format('revoke execute on %s %s from public, %I;', case f.kind when 'p' then 'procedure' else 'function' end, f.label, c.acting_name)
            else 'Put names in by format(''%I'') and values by `using`.' end, null::boolean, null
from callable c
join routine f on f.oid = c.function and f.definer and coalesce(case when not f.unbound then f.unguards end, f.spliced) is not null
cross join lateral (select exists (select from relation r where r.tenanted and r.stored and pg_has_role(f.owner, r.owner, 'USAGE')) as own) o
join lateral (select string_agg('`' || r.label || '`', ', ' order by r.label) as tables
              from relation r where r.tenanted and r.stored and (pg_has_role(f.owner, r.owner, 'USAGE')
                or f.spliced is not null and exists (select from free x where x.role = f.owner and x.relation = r.oid))) t on t.tables is not null
union all
-- It asks for the tenant, and joins others' rows to the own ones.
select distinct f.label, c.acting_name, 'execute',
       format('it runs as `%s`, %s, and joins rows of `%s` by %s, which rows of two tenants may both hold%s', f.owner_name, x.why, r.label,
              (select string_agg(format('`%s`', b), ', ' order by b) from jsonb_array_elements_text(h."by") b), c.via),
       format('Compare %I of `%s` in the join.', r.key, r.label), null::boolean, null
from callable c
join routine f on f.oid = c.function and f.definer and f.strays <> '[]'
cross join lateral jsonb_to_recordset(f.strays) as h(relation int8, "by" jsonb, speaks jsonb)
join relation r on r.oid = h.relation::oid and r.key_kind = 'column'
join free x on x.role = f.owner and x.relation = r.oid
where not h.speaks ? r.key
  and not exists (select from unique_key u where u.relation = r.oid and h."by" ?& u.columns)
union all
-- It asks for the tenant, but for an alternative that finds rows by what they hold.
select distinct f.label, c.acting_name, 'execute',
       format('it runs as `%s`, %s, and finds rows of `%s` where `%s`, whichever tenant''s they are%s', f.owner_name, x.why, r.label, h.text, c.via),
       'Join the alternative with the comparison of the tenant by AND.', null::boolean, null
from callable c
join routine f on f.oid = c.function and f.definer and f.admits <> '[]'
cross join lateral jsonb_to_recordset(f.admits) as h(relations jsonb, columns jsonb, missing boolean, text text)
join relation r on h.relations @> to_jsonb(r.oid::int8)
join free x on x.role = f.owner and x.relation = r.oid
-- Rows without a tenant are shared, and looked at as that; what policies show as well, or ask it for, is told there.
where not exists (select from guard g where g.function = f.oid)
  and not (h.missing and h.columns = jsonb_build_array(r.key))
  and not exists (select from way w where w.acting = c.acting and w.relation = r.oid and w.privilege = 'SELECT')
union all
-- What a caller writes becomes a part of a trigger's command.
select distinct f.label, c.acting_name, lower(c.privilege),
       format('the trigger `%s` on `%s` runs it as `%s`, and it makes a part of a command of `%s`, unquoted: who writes there runs what it likes as that owner%s', g.tgname, s.label, f.owner_name, f.spliced, c.via),
       'Put names in by format(''%I'') and values by `using`.', null::boolean, null
from pg_catalog.pg_trigger g
join relation s on s.oid = g.tgrelid
join routine f on f.oid = g.tgfoid and f.definer and f.spliced is not null
join can c on c.relation = s.oid and c.rank in (2, 3, 4) and (g.tgtype & case c.rank when 2 then 4 when 3 then 16 else 8 end) <> 0
where not g.tgisinternal and g.tgenabled <> 'D'
  and (f.unbound or exists (select from relation r where r.tenanted and r.stored and pg_has_role(f.owner, r.owner, 'USAGE')))
union all
-- A trigger reads for its caller: a sum over all tenants, or whether another one has the value, comes back in the row or as an error.
select distinct f.label, c.acting_name, lower(c.privilege),
       format('the trigger `%s` on `%s` runs it as `%s`, %s, and what it reads of `%s` in all tenants comes back %s', g.tgname, s.label, f.owner_name, x.why, r.label,
              case when f.assigns <> '{}' then 'in the row' else 'as an error' end),
       format('alter function %s security invoker;', f.label), null::boolean, null
from pg_catalog.pg_trigger g
join relation s on s.oid = g.tgrelid and s.tenanted
join routine f on f.oid = g.tgfoid and f.definer and (f.assigns <> '{}' or f.raises)
join unbound_read x on x.function = f.oid
join relation r on r.oid = x.relation and r.tenanted
-- Where a row's own key is no column, by the names that keys have elsewhere.
cross join lateral (select coalesce(r.key, (select string_agg(distinct z.key, '|') from relation z where z.key is not null)) as name) k
join can c on c.relation = s.oid and c.rank in (2, 3) and (g.tgtype & case c.rank when 2 then 4 else 16 end) <> 0
where not g.tgisinternal and g.tgenabled <> 'D'
  and not exists (select from setting t where t.name = any (f.settings))
  and (f.prosrc ~* '\m(count|sum|max|min|avg)\s*\(' and f.prosrc !~* ('\m(' || k.name || ')\M')
       or f.prosrc ~* ('\m(' || k.name || ')"?\s*(<>|!=|is\s+distinct\s+from)\s*new\s*\.\s*"?(' || k.name || ')\M'))
