-- What the current user may not do of what the pending migrations ask for.
with me as (
  select rolcreaterole as can_make_roles from pg_catalog.pg_roles where rolname = current_user
), history as (
  select c.oid, c.relname
  from pg_catalog.pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relname in ('seaql_migrations', 'kinedb_history')
), lacks(place, what, help) as (
  select 1, 'CREATE on schema public, for the tables of history',
         format('grant create on schema public to %I', current_user)
  where not exists (select from history where relname = 'kinedb_history')
    and not has_schema_privilege('public', 'CREATE')
  union all
  select 2, format('%s on table public.%I', wanted, h.relname),
         format('grant select, insert, delete on public.%I to %I', h.relname, current_user)
  from history h
  cross join lateral unnest(case h.relname when 'kinedb_history' then array['SELECT', 'INSERT']
                            else array['SELECT', 'INSERT', 'DELETE'] end) as wanted
  where not has_table_privilege(h.oid, wanted)
  union all
  select 3, 'CREATEROLE, to make roles', format('alter role %I createrole', current_user)
  where (:creates_roles or :may_create_roles and exists (
           select from unnest(:roles) as wanted where to_regrole(quote_ident(wanted)) is null))
    and not (select can_make_roles from me)
  union all
  select 4, 'CREATE on this database, to make a schema',
         format('grant create on database %I to %I', current_database(), current_user)
  where :creates_schemas and not has_database_privilege(current_database(), 'CREATE')
  union all
  select 5, format('membership in role %I, as which they act', r.rolname),
         format('grant %I to %I', r.rolname, current_user)
  from pg_catalog.pg_roles r
  where r.rolname = any (:roles)
    and not pg_has_role(current_user, r.oid, case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
    -- whoever makes roles can make itself a member, and such migrations do
    and not (select can_make_roles from me)
  union all
  select 6, format('ownership of table %s, which belongs to %I', c.oid::regclass, o.rolname),
         format('grant %I to %I', o.rolname, current_user)
  from unnest(:tables, :actors) as t(name, actor)
  join pg_catalog.pg_class c on c.oid = to_regclass(t.name)
  join pg_catalog.pg_roles o on o.oid = c.relowner
  where not (select can_make_roles from me)
    and (t.actor = '' and not pg_has_role(current_user, o.oid, 'USAGE')
      or t.actor <> '' and exists (
        select from pg_catalog.pg_roles a
        where a.rolname = t.actor and pg_has_role(current_user, a.oid, 'MEMBER') and not pg_has_role(a.oid, o.oid, 'USAGE')))
)
select coalesce(json_agg(json_build_object('what', what, 'grant', help) order by place, what), '[]')::text from lacks
