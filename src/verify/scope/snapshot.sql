-- One statement, so one snapshot: what the scope is made from, as one json value.
-- $1 relations whose policies and $2 functions whose bodies cannot be read now: another session holds what they speak of.
-- Runs with an empty search path, so that every name outside of pg_catalog is printed with its schema.
with schema as (
  select n.oid, n.nspname
  from pg_catalog.pg_namespace n
  where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    and n.nspname !~ '^pg_(temp|toast_temp)_'
),
member_of_extension as (
  select d.classid, d.objid
  from pg_catalog.pg_depend d
  where d.deptype = 'e' and d.classid in ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass)
),
relation as (
  select c.*, s.nspname
  from pg_catalog.pg_class c
  join schema s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'f', 'v', 'm')
    and not exists (select from member_of_extension m
                    where m.classid = 'pg_catalog.pg_class'::regclass and m.objid = c.oid)
),
routine as (
  select p.*, s.nspname
  from pg_catalog.pg_proc p
  join schema s on s.oid = p.pronamespace
  where not exists (select from member_of_extension m
                    where m.classid = 'pg_catalog.pg_proc'::regclass and m.objid = p.oid)
)
select pg_catalog.json_build_object(
  'server_version', pg_catalog.current_setting('server_version_num')::int,
  'today', current_date::text,
  'user', (select pg_catalog.to_json(r) from (
     select current_user as name, a.rolsuper as superuser, a.rolsuper or a.rolbypassrls as unbound,
            (select b.rolname from pg_catalog.pg_roles b
             where (b.rolsuper or b.rolbypassrls) and b.rolname <> current_user
               and pg_catalog.pg_has_role(current_user, b.oid, case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
               and not a.rolsuper
             order by b.rolsuper, b.rolname limit 1) as may_become_unbound
     from pg_catalog.pg_roles a where a.rolname = current_user) r),
  'database', (select pg_catalog.json_build_object('name', d.datname, 'owner', d.datdba)
               from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()),
  'schemas', (select coalesce(pg_catalog.json_agg(s.nspname order by s.nspname), '[]') from schema s),
  'roles', (select pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', r.oid::int8, 'name', r.rolname, 'superuser', r.rolsuper, 'bypass', r.rolbypassrls, 'login', r.rolcanlogin) order by r.rolname)
    from pg_catalog.pg_roles r),
  'members', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('role', m.roleid::int8, 'member', m.member::int8,
      'inherits', coalesce((pg_catalog.to_jsonb(m)->>'inherit_option')::boolean, r.rolinherit))), '[]')
    from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
    where coalesce((pg_catalog.to_jsonb(m)->>'inherit_option')::boolean, true)
       or coalesce((pg_catalog.to_jsonb(m)->>'set_option')::boolean, true)
       or m.admin_option),
  'relations', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', c.oid::int8, 'schema', c.nspname, 'name', c.relname, 'kind', c.relkind, 'owner', c.relowner::int8,
      'rls', c.relrowsecurity, 'force', c.relforcerowsecurity, 
      -- Never counted, or counted while it was empty: by its size, where that is more than a few pages.
      'estimate', case when c.relkind in ('r', 'm') and c.reltuples <= 0 and c.oid <> all ($1::oid[]) then (
          select coalesce(case when s.pages > 100 then s.pages * 8168 / s.width end, c.reltuples)
          from (select pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int as pages,
                       (select 28 + pg_catalog.sum(case when a.attlen > 0 then a.attlen else 32 end)
                        from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as width) s)
        else c.reltuples end,
      'parents', (select coalesce(pg_catalog.json_agg(i.inhparent::int8), '[]') from pg_catalog.pg_inherits i where i.inhrelid = c.oid),
      'grantees', (select coalesce(pg_catalog.json_agg(distinct g.grantee::int8), '[]') from (
          select a.grantee from pg_catalog.aclexplode(c.relacl) a
          union all
          select a.grantee from pg_catalog.pg_attribute t, pg_catalog.aclexplode(t.attacl) a
          where t.attrelid = c.oid and t.attacl is not null) g
          where g.grantee <> c.relowner),
      'columns', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
          'number', a.attnum, 'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
          'not_null', a.attnotnull or (select t.typnotnull from pg_catalog.pg_type t where t.oid = a.atttypid)) order by a.attnum), '[]')
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))
      order by c.nspname, c.relname), '[]')
    from relation c),
  'references', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'child', k.conrelid::int8, 'parent', k.confrelid::int8, 'columns', k.conkey, 'targets', k.confkey,
      'single', pg_catalog.cardinality(k.conkey) = 1 and exists (select from pg_catalog.pg_index i
        where i.indrelid = k.conrelid and i.indisunique and i.indnkeyatts = 1 and i.indkey[0] = k.conkey[1] and i.indpred is null)) order by k.conrelid, k.conname), '[]')
    from pg_catalog.pg_constraint k where k.contype = 'f' and k.conparentid = 0),
  'policies', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', p.oid::int8, 'relation', p.polrelid::int8, 'name', p.polname, 'permissive', p.polpermissive, 'command', p.polcmd,
      'roles', (select pg_catalog.json_agg(r::int8) from pg_catalog.unnest(p.polroles) r),
      'using', pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'check', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) order by p.polrelid, p.polname), '[]')
    from pg_catalog.pg_policy p where p.polrelid <> all ($1::oid[])),
  'functions', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', p.oid::int8, 'schema', p.nspname, 'name', p.proname, 'owner', p.proowner::int8, 'definer', p.prosecdef,
      'kind', p.prokind, 'volatility', p.provolatile, 'language', l.lanname,
      'arguments', pg_catalog.oidvectortypes(p.proargtypes),
      'parameters', case when p.prosecdef and p.prorettype = 'pg_catalog.trigger'::regtype and p.prosrc ~* '\mexecute\M' then (select coalesce(pg_catalog.jsonb_agg(distinct n.name), '[]')
        from pg_catalog.pg_trigger g join pg_catalog.pg_attribute a on a.attrelid = g.tgrelid and a.attnum > 0 and not a.attisdropped join pg_catalog.pg_type t on t.oid = a.atttypid
        cross join lateral (values ('new.' || a.attname), ('old.' || a.attname)) n(name)
        where g.tgfoid = p.oid and g.tgenabled <> 'D' and (t.typcategory = 'S' or t.typname in ('_text', '_varchar', 'json', 'jsonb')))
        when p.prosecdef and p.proargnames is not null then (select coalesce(pg_catalog.jsonb_agg(a.name), '[]')
        from unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes) a(name, type, mode)
        join pg_catalog.pg_type t on t.oid = a.type
        where coalesce(a.mode, 'i') in ('i', 'b', 'v') and (t.typcategory = 'S' or t.typname in ('_text', '_varchar', 'json', 'jsonb'))) else '[]' end,
      'trigger', p.prorettype in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype),
      'source', case when l.lanname in ('sql', 'plpgsql') and p.oid <> all ($2::oid[]) then coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) end)
      order by p.nspname, p.proname), '[]')
    from routine p join pg_catalog.pg_language l on l.oid = p.prolang)
)
