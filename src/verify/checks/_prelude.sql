-- The tables that every check reads, made once per run from `$1`, the serialised scope.
-- What is excluded from all checks is excluded here and nowhere else.
scope(j) as materialized (select $1::jsonb),

-- Roles of the application; trusted ones bypass by design and are not looked at.
acting as materialized (
  select distinct on (r.oid) r.oid::oid as oid, r.name, r.scope, r.reach
  from scope, jsonb_to_recordset(j->'roles') as r(oid int8, name text, scope text, reach jsonb)
  where r.scope <> 'trusted'
  order by r.oid
),

-- Every role that an acting role is or can become.
member as materialized (
  select a.oid as acting, a.name as acting_name, a.scope, m.oid, m.rolname::text as name,
         m.oid = a.oid as itself, m.rolsuper, m.rolbypassrls, m.rolcreaterole, m.rolreplication, m.rolcreatedb,
         m.rolsuper or m.rolbypassrls as unbound,
         case when m.oid = a.oid then '' else format(' as `%s`, which it can become', m.rolname) end as via
  from acting a, jsonb_array_elements_text(a.reach) x(o)
  join pg_catalog.pg_roles m on m.oid = x.o::oid
),

setting(name, in_context) as materialized (
  select s, j->'context_settings' ? s
  from scope, jsonb_array_elements_text(j->'settings') s
),

relation as materialized (
  select r.oid::oid as oid, r.label, r.kind, r.owner::oid as owner, r.rls, r.force, r.append_only, r.estimate,
         c.relnamespace as schema, k.kind as key_kind,
         r.tenant->'column'->>'column' as key,
         r.tenant->'column'->>'type_name' as key_type,
         coalesce((r.tenant->'column'->>'nullable')::boolean, false) as key_nullable,
         k.kind in ('column', 'expression', 'parent', 'owns') as tenanted,
         r.kind in ('table', 'partitioned-table') as stored,
         r.tenant->'parent'->'columns' as parent_columns, r.tenant->>'owns' as owns
  from scope, jsonb_to_recordset(j->'relations') as r(oid int8, label text, kind text, owner int8, rls boolean, force boolean,
         append_only boolean, estimate real, tenant jsonb)
  cross join lateral (select case when jsonb_typeof(r.tenant) = 'string' then r.tenant#>>'{}'
                             else (select k from jsonb_object_keys(r.tenant) k limit 1) end as kind) k
  join pg_catalog.pg_class c on c.oid = r.oid
),

-- What an acting role may do to a relation by grants. Superusers, BYPASSRLS and owners are left out:
-- they have checks of their own, and what they can do is everything.
can as materialized (
  select m.acting, m.acting_name, m.oid as member, m.via, m.itself, r.oid as relation, p.privilege, p.rank
  from member m
  join relation r on has_schema_privilege(m.oid, r.schema, 'USAGE') and not pg_has_role(m.oid, r.owner, 'USAGE')
  cross join (values ('SELECT', 1), ('INSERT', 2), ('UPDATE', 3), ('DELETE', 4), ('TRUNCATE', 5), ('REFERENCES', 6), ('TRIGGER', 7)) p(privilege, rank)
  where not m.unbound
    and case when p.rank in (4, 5, 7) then has_table_privilege(m.oid, r.oid, p.privilege)
             else has_any_column_privilege(m.oid, r.oid, p.privilege) end
    and not (m.scope = 'all' and p.privilege = 'SELECT')
),

policy as materialized (
  select p.oid::oid as oid, p.relation::oid as relation, p.name, p.permissive, p.command, p.roles,
         p."using", coalesce(nullif(p."check", 'null'), p."using") as "check", nullif(p."check", 'null') is not null as has_check
  from scope, jsonb_to_recordset(j->'policies') as p(oid int8, relation int8, name text, permissive boolean, command text,
         roles jsonb, "using" jsonb, "check" jsonb)
),

-- Each predicate of a policy once per command and part it serves.
predicate as materialized (
  select p.oid as policy, p.relation, p.name, p.permissive, p.roles, c.privilege, c.part,
         case c.part when 'using' then p."using" else p."check" end as body
  from policy p
  join (values ('SELECT', 'r', 'using'), ('INSERT', 'a', 'check'), ('UPDATE', 'w', 'using'), ('UPDATE', 'w', 'check'), ('DELETE', 'd', 'using'))
       c(privilege, command, part) on p.command in ('*', c.command)
),

-- Which policies bind which acting role.
applies as materialized (
  select distinct p.oid as policy, m.acting, m.oid as member
  from policy p, member m
  where not m.unbound
    and exists (select from jsonb_array_elements_text(p.roles) r
                where r = '0' or case when r::int8 in (select oid::int8 from pg_catalog.pg_roles) then pg_has_role(m.oid, r::oid, 'USAGE') end)
),

-- Commands that a permissive policy opens at all.
allowed as materialized (
  select distinct a.acting, a.member, p.relation, p.privilege, p.part
  from predicate p join applies a on a.policy = p.policy
  where p.permissive
),

-- Commands that a restrictive policy ties to the session whatever the permissive ones say.
closed as materialized (
  select distinct a.acting, a.member, p.relation, p.privilege, p.part
  from predicate p join applies a on a.policy = p.policy
  where not p.permissive and p.body->'open' = '[]'
),

-- Commands that a restrictive policy ties to the session but for an alternative that the context decides.
narrowed as materialized (
  select distinct on (a.acting, a.member, p.relation, p.privilege, p.part) a.acting, a.member, p.relation, p.privilege, p.part,
         p.name, p.body->'open'->0->>'text' as text, p.body->'open'->0->'settings' as settings, p.body->'open'->0->'texts' as texts
  from predicate p
  join applies a on a.policy = p.policy
  join relation r on r.oid = p.relation
  where not p.permissive and p.body->'open' <> '[]' and p.body->'tied_columns' ? coalesce(r.key, p.body->'tied_columns'->>0)
    and not p.body @? '$.open[*] ? (@.kind != "session")'
  order by a.acting, a.member, p.relation, p.privilege, p.part, p.name
),

-- Ways through the policies that do not tie the row to the session, where no restrictive policy closes them.
way as materialized (
  select c.acting, c.acting_name, c.member, c.via, c.relation, c.privilege, c.rank, p.part, p.policy, coalesce(n.name, p.name) as name,
         coalesce(n.text, o.text) as text, case when n.text is null then o.kind else 'session' end as kind, o.roles, coalesce(n.settings, o.settings) as settings,
         case when n.text is null then o.texts else n.texts end as texts
  from can c
  join relation r on r.oid = c.relation and r.rls
  join predicate p on p.relation = c.relation and p.privilege = c.privilege and p.permissive
  join applies a on a.policy = p.policy and a.acting = c.acting and a.member = c.member
  cross join lateral jsonb_to_recordset(p.body->'open') as o(text text, kind text, roles jsonb, settings jsonb, texts jsonb)
  left join narrowed n on n.acting = c.acting and n.member = c.member and n.relation = c.relation and n.privilege = c.privilege and n.part = p.part
    and o.kind in ('true', 'row', 'table')
  where not exists (
    select from closed x
    where x.acting = c.acting and x.member = c.member and x.relation = c.relation and x.privilege = c.privilege and x.part = p.part)
),

routine as materialized (
  select f.oid::oid as oid, f.label, f.owner::oid as owner, f.definer, f.kind, f.volatility, f.trigger, p.pronamespace as schema,
         p.proconfig, p.proleakproof, p.prosrc, p.prorettype = 'void'::regtype as void, o.rolsuper or o.rolbypassrls as unbound, o.rolname::text as owner_name,
         (f.body->>'dynamic')::boolean as dynamic, (f.body->>'opaque')::boolean as opaque, (f.body->>'session')::boolean as session,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'server') x) as server, f.body->>'payload' as payload,
         f.body->>'spliced' as spliced, f.body->>'unguards' as unguards,
         (f.body->>'swallows')::boolean as swallows, (f.body->>'raises')::boolean as raises,
         (select coalesce(array_agg(x::oid), '{}') from jsonb_array_elements_text(f.body->'reads') x) as reads,
         (select coalesce(array_agg(x::oid), '{}') from jsonb_array_elements_text(f.body->'writes') x) as writes,
         (select coalesce(array_agg(x::oid), '{}') from jsonb_array_elements_text(f.body->'calls') x) as calls, f.body->'changes' as changes, f.body->'spreads' as spreads, f.body->'strays' as strays, f.body->'admits' as admits,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'settings') x) as settings,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'session_sets') x) as session_sets,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'sets') x) as sets,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'chooses') x) as chooses,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'unqualified') x) as unqualified,
         (select coalesce(array_agg(x), '{}') from jsonb_array_elements_text(f.body->'assigns') x) as assigns
  from scope, jsonb_to_recordset(j->'functions') as f(oid int8, label text, owner int8, definer boolean, kind text, volatility text, trigger boolean, body jsonb)
  join pg_catalog.pg_proc p on p.oid = f.oid
  join pg_catalog.pg_roles o on o.oid = f.owner
),

-- Functions that an acting role may call.
callable as materialized (
  select m.acting, m.acting_name, min(m.via) as via, f.oid as function
  from member m join routine f on not f.trigger and has_function_privilege(m.oid, f.oid, 'EXECUTE') and has_schema_privilege(m.oid, f.schema, 'USAGE')
  where not m.unbound
  group by 1, 2, 4
),

-- Functions that policies call, with the relation they guard.
guard as materialized (
  select distinct p.relation, p.oid as policy, p.name, f::oid as function
  from policy p
  cross join lateral (select jsonb_array_elements_text(p."using"->'functions') union select jsonb_array_elements_text(p."check"->'functions')) x(f)
),

-- Views and what they read, down to tables; `runs_as` is 0 where rights of the caller count.
edge as materialized (
  select distinct w.ev_class as view, d.refobjid as base,
         case when v.relkind = 'v' and exists (select from pg_options_to_table(v.reloptions) o where o.option_name = 'security_invoker' and o.option_value in ('true', 'on', '1', 'yes'))
              then 0 else v.relowner end::oid as runs_as
  from pg_catalog.pg_rewrite w
  join pg_catalog.pg_class v on v.oid = w.ev_class and v.relkind in ('v', 'm')
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
  join pg_catalog.pg_class b on b.oid = d.refobjid and b.relkind in ('r', 'p', 'f', 'v', 'm')
  where w.ev_type = '1' and (select not j->'held'->'relations' ? v.oid::text from scope) and v.relnamespace <> 'pg_catalog'::regnamespace and v.relnamespace <> 'information_schema'::regnamespace
),
walk as materialized (
  with recursive w(root, base, runs_as, path) as (
    select e.view, e.base, e.runs_as, array[e.view] from edge e
    union
    select w.root, e.base, e.runs_as, w.path || e.view
    from w join edge e on e.view = w.base and e.view <> all (w.path)
    join pg_catalog.pg_class c on c.oid = e.view and c.relkind = 'v'
  )
  select * from w
),

-- Columns of which one set of values names one row alone, whichever tenant's it is.
unique_key as materialized (
  select i.indrelid as relation, array_agg(a.attname::text) as columns
  from pg_catalog.pg_index i
  join relation r on r.oid = i.indrelid
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey[0:i.indnkeyatts - 1])
  where i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
  group by i.indexrelid, i.indrelid
),

-- Whether RLS binds a role on a table: for owners of views and functions.
free as materialized (
  select o.oid as role, o.rolname::text as name, r.oid as relation,
         case when o.rolsuper then 'a superuser' when o.rolbypassrls then 'a role with BYPASSRLS'
              when not r.rls then 'not bound, because the table has no row level security'
              else 'the owner of a table without FORCE' end as why
  from relation r
  join pg_catalog.pg_roles o on o.rolsuper or o.rolbypassrls
    or ((not r.rls or not r.force) and pg_has_role(o.oid, r.owner, 'USAGE'))
    or (not r.rls and has_table_privilege(o.oid, r.oid, 'SELECT'))
  where r.tenanted and r.stored
    and (o.oid in (select owner from routine where definer) or o.oid in (select runs_as from edge) or o.oid in (select owner from relation))
  union all
  -- Bound, but by a policy of its own that does not compare the tenant.
  select o.oid, o.rolname::text, p.relation, min(format('whom its own policy `%s` lets see rows of any tenant', p.name))
  from predicate p
  join relation r on r.oid = p.relation and r.tenanted and r.stored and r.rls
  join pg_catalog.pg_roles o on (o.oid in (select owner from routine where definer) or o.oid in (select runs_as from edge)) and not o.rolsuper and not o.rolbypassrls
  where p.permissive and p.privilege = 'SELECT' and p.part = 'using' and not p.roles ? '0'
    and (r.force or not pg_has_role(o.oid, r.owner, 'USAGE'))
    and exists (select from jsonb_array_elements(p.body->'open') x where x->>'kind' in ('true', 'row'))
    and exists (select from jsonb_array_elements_text(p.roles) x join pg_catalog.pg_roles m on m.oid = x::oid where pg_has_role(o.oid, m.oid, 'USAGE'))
    and not exists (select from predicate q where q.relation = p.relation and not q.permissive and q.privilege = 'SELECT' and q.body->'open' = '[]'
                    and exists (select from jsonb_array_elements_text(q.roles) x where x = '0' or x in (select m.oid::text from pg_catalog.pg_roles m where pg_has_role(o.oid, m.oid, 'USAGE'))))
  group by 1, 2, 3
),

-- What functions read and write with the rights of an owner whom RLS does not bind.
unbound_read as materialized (
  select f.oid as function, x.relation, x.why
  from (select f.oid, f.owner, unnest(f.reads) as relation from routine f where f.definer offset 0) f
  join free x on x.role = f.owner and x.relation = f.relation
),
unbound_write as materialized (
  select f.oid as function, x.relation, x.why
  from (select f.oid, f.owner, unnest(f.writes) as relation from routine f where f.definer offset 0) f
  join free x on x.role = f.owner and x.relation = f.relation
),

-- What views show of tenants' tables beyond what the caller may see itself.
exposed as materialized (
  select w.root as view, w.base, w.path, f.name as owner, f.why,
         bool_or(d.asks) as filtered,
         bool_or(d.text ~* 'where \(*false') as shut,
         bool_or(d.asks and exists (select from pg_catalog.pg_class c, pg_options_to_table(c.reloptions) o
             where c.oid = d.view and o.option_name = 'security_barrier' and o.option_value in ('true', 'on', '1', 'yes'))
             or c2.relkind = 'm') as barrier
  from walk w
  join free f on f.role = w.runs_as and f.relation = w.base
  cross join lateral (
    select t.*, t.text ~ 'current_setting\('
      -- A view asks who is connected of whoever reads it, not of its owner.
      or t.text ~ '\m(CURRENT_USER|SESSION_USER)\M' and (select j->>'no_context' = 'none' from scope)
      or exists (select from guard g join routine s on s.oid = g.function
        where s.session and t.text ~ ('\m' || regexp_replace(split_part(s.label, '(', 1), '^.*\.', '') || '\(')) as asks
    from (select p as view, pg_get_viewdef(p) as text from unnest(w.path) p) t) d
  join pg_catalog.pg_class c2 on c2.oid = d.view
  group by 1, 2, 3, 4, 5
)
