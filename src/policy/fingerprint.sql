-- A database's schema and security: one line per property, (object, attribute, value).
-- Left out: system schemas, what belongs to an extension, kinedb's own tables.
with spaces as (
  select n.oid, n.nspname, n.nspowner, n.nspacl
  from pg_namespace n
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
), own_tables as (
  select c.oid from pg_class c where c.relnamespace = 'public'::regnamespace
    and c.relname in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')
), relations as (
  select c.*, format('%I.%I', s.nspname, c.relname) as name,
    case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
      when 'f' then 'foreign table' when 'S' then 'sequence' else 'type' end as kind
  from pg_class c join spaces s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    and c.oid not in (select oid from own_tables)
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
      and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from own_tables) and d.deptype in ('i', 'a'))
), functions as (
  select p.*, format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as name
  from pg_proc p join spaces s on s.oid = p.pronamespace
  where p.proname <> 'kinedb_history_guard'
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
), types as (
  select t.*, format('%I.%I', s.nspname, t.typname) as name
  from pg_type t join spaces s on s.oid = t.typnamespace
  where t.typtype in ('e', 'd', 'r') 
    and not exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
), grants as (
  select r.kind || ' ' || r.name as object, 'grant to ' || coalesce(g.rolname, 'public') as attribute,
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type) as value
  from relations r
  cross join lateral aclexplode(coalesce(r.relacl, acldefault(case r.relkind when 'S' then 's' else 'r' end::"char", r.relowner))) a
  left join pg_roles g on g.oid = a.grantee
  where r.kind <> 'type'
  group by 1, 2
  union all
  select r.kind || ' ' || r.name, format('column %I grant to %s', t.attname, coalesce(g.rolname, 'public')),
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
  from relations r
  join pg_attribute t on t.attrelid = r.oid and t.attnum > 0 and not t.attisdropped and t.attacl is not null
  cross join lateral aclexplode(t.attacl) a
  left join pg_roles g on g.oid = a.grantee
  group by 1, 2
  union all
  select 'function ' || f.name, 'grant to ' || coalesce(g.rolname, 'public'),
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
  from functions f
  cross join lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
  left join pg_roles g on g.oid = a.grantee
  group by 1, 2
  union all
  select 'schema ' || quote_ident(s.nspname), 'grant to ' || coalesce(g.rolname, 'public'),
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
  from spaces s
  cross join lateral aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner))) a
  left join pg_roles g on g.oid = a.grantee
  group by 1, 2
  union all
  select 'database', 'grant to ' || coalesce(g.rolname, 'public'),
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
  from pg_database d
  cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
  left join pg_roles g on g.oid = a.grantee
  where d.datname = current_database()
  group by 1, 2
  union all
  select 'type ' || t.name, 'grant to ' || coalesce(g.rolname, 'public'),
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
  from types t
  cross join lateral aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
  left join pg_roles g on g.oid = a.grantee
  group by 1, 2
  union all
  select 'default privileges', format('%s for %s%s grant to %s',
      case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end,
      d.defaclrole::regrole, coalesce(' in schema ' || quote_ident(s.nspname), ''), coalesce(g.rolname, 'public')),
    string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
  from pg_default_acl d
  left join pg_namespace s on s.oid = d.defaclnamespace
  cross join lateral aclexplode(d.defaclacl) a
  left join pg_roles g on g.oid = a.grantee
  group by 1, 2
), roles_in_use as (
  -- Every role that owns, is granted, or is named by a policy here; roles of other databases are not ours to describe.
  select distinct refobjid as oid from pg_shdepend
  where refclassid = 'pg_authid'::regclass and dbid in (select oid from pg_database where datname = current_database())
), lines (object, attribute, value) as (
  select 'schema ' || quote_ident(s.nspname), 'owner', s.nspowner::regrole::text from spaces s
  union all
  select r.kind || ' ' || r.name, v.attribute, v.value
  from relations r
  cross join lateral (values
    ('owner', r.relowner::regrole::text),
    ('row security', case when r.kind = 'table' then case when r.relrowsecurity then 'enabled' else 'disabled' end end),
    ('force row security', case when r.kind = 'table' then case when r.relforcerowsecurity then 'forced' else 'not forced' end end),
    ('persistence', nullif(r.relpersistence::text, 'p')),
    ('options', (select string_agg(o, ', ' order by o) from unnest(r.reloptions) o)),
    ('partitioned by', case when r.relkind = 'p' then pg_get_partkeydef(r.oid) end),
    ('partition', case when r.relispartition then pg_get_expr(r.relpartbound, r.oid) end),
    ('parents', (select string_agg(i.inhparent::regclass::text, ', ' order by i.inhseqno) from pg_inherits i where i.inhrelid = r.oid)),
    ('replica identity', case when r.kind = 'table' then nullif(r.relreplident::text, 'd') end),
    ('access method', case when r.relkind in ('r', 'm') then (select nullif(a.amname, 'heap')::text from pg_am a where a.oid = r.relam) end),
    ('definition', case when r.relkind in ('v', 'm') then pg_get_viewdef(r.oid) end)
  ) v (attribute, value)
  where v.value is not null and r.relkind <> 'c'
  union all
  select r.kind || ' ' || r.name, format('column %I %s', a.attname, v.attribute), v.value
  from relations r
  join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
  cross join lateral (values
    ('type', format_type(a.atttypid, a.atttypmod)),
    ('place', (select count(*)::text from pg_attribute b where b.attrelid = r.oid and b.attnum > 0 and not b.attisdropped and b.attnum <= a.attnum)),
    ('not null', case when a.attnotnull then 'yes' end),
    ('default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end),
    ('generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end),
    ('identity', nullif(a.attidentity::text, '')),
    ('collation', (select nullif(c.collname, 'default')::text from pg_collation c where c.oid = a.attcollation and a.attcollation <> (select typcollation from pg_type where oid = a.atttypid))),
    ('storage', (select case when t.typstorage <> a.attstorage then a.attstorage::text end from pg_type t where t.oid = a.atttypid)),
    ('statistics', case when to_jsonb(a) ->> 'attstattarget' not in ('-1') then to_jsonb(a) ->> 'attstattarget' end),
    ('compression', nullif(a.attcompression::text, ''))
  ) v (attribute, value)
  where v.value is not null and r.relkind <> 'S'
  union all
  select 'table ' || r.name, format('constraint %I', c.conname),
    pg_get_constraintdef(c.oid) || case when c.convalidated then '' else ' (not validated)' end
  from pg_constraint c join relations r on r.oid = c.conrelid
  where c.contype not in ('n', 't')
  union all
  select 'type ' || t.name, format('constraint %I', c.conname), pg_get_constraintdef(c.oid)
  from pg_constraint c join types t on t.oid = c.contypid where c.contype <> 'n'
  union all
  select r.kind || ' ' || r.name, format('index %I', i.relname),
    pg_get_indexdef(x.indexrelid) || case when x.indisvalid then '' else ' (invalid)' end
      || case when x.indisclustered then ' (clustered)' else '' end || case when x.indisreplident then ' (replica identity)' else '' end
  from pg_index x join relations r on r.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
  union all
  select r.kind || ' ' || r.name, format('trigger %I', t.tgname),
    pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' when 'A' then ' (always)' when 'R' then ' (replica)' else ' (disabled)' end
  from pg_trigger t join relations r on r.oid = t.tgrelid where not t.tgisinternal
  union all
  select r.kind || ' ' || r.name, format('rule %I', w.rulename),
    pg_get_ruledef(w.oid) || case w.ev_enabled when 'O' then '' when 'A' then ' (always)' when 'R' then ' (replica)' else ' (disabled)' end
  from pg_rewrite w join relations r on r.oid = w.ev_class where w.rulename <> '_RETURN'
  union all
  select 'table ' || r.name, format('policy %I', p.polname),
    format('%s for %s to %s using (%s) with check (%s)',
      case when p.polpermissive then 'permissive' else 'restrictive' end,
      case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
      (select string_agg(case o when 0 then 'public' else o::regrole::text end, ', ' order by case o when 0 then 'public' else o::regrole::text end) from unnest(p.polroles) o),
      coalesce(pg_get_expr(p.polqual, p.polrelid), 'none'), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'none'))
  from pg_policy p join relations r on r.oid = p.polrelid
  union all
  select 'function ' || f.name, v.attribute, v.value
  from functions f
  cross join lateral (values
    ('owner', f.proowner::regrole::text),
    ('definition', case when f.prokind in ('f', 'p', 'w') then pg_get_functiondef(f.oid) end),
    ('aggregate', case when f.prokind = 'a' then (select format('%s %s %s', g.aggtransfn, g.aggfinalfn, format_type(g.aggtranstype, null)) from pg_aggregate g where g.aggfnoid = f.oid) end)
  ) v (attribute, value)
  where v.value is not null
  union all
  select 'type ' || t.name, v.attribute, v.value
  from types t
  cross join lateral (values
    ('owner', t.typowner::regrole::text),
    ('labels', (select string_agg(e.enumlabel, ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid)),
    ('domain', case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) || case when t.typnotnull then ' not null' else '' end || coalesce(' default ' || t.typdefault, '') end),
    ('range', (select format_type(g.rngsubtype, null) from pg_range g where g.rngtypid = t.oid))
  ) v (attribute, value)
  where v.value is not null
  union all
  select 'sequence ' || r.name, 'parameters',
    format('%s start %s min %s max %s increment %s cache %s%s', format_type(q.seqtypid, null), q.seqstart, q.seqmin, q.seqmax, q.seqincrement, q.seqcache, case when q.seqcycle then ' cycle' else '' end)
  from pg_sequence q join relations r on r.oid = q.seqrelid
  union all
  select 'extension ' || quote_ident(e.extname), 'version', e.extversion || ' in ' || quote_ident(n.nspname)
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname <> 'plpgsql'
  union all
  select 'event trigger ' || quote_ident(e.evtname), 'definition',
    format('on %s execute %s owner %s%s%s', e.evtevent, e.evtfoid::regprocedure, e.evtowner::regrole, coalesce(' when tag in ' || array_to_string(e.evttags, ', '), ''),
      case e.evtenabled when 'O' then '' when 'A' then ' (always)' when 'R' then ' (replica)' else ' (disabled)' end)
  from pg_event_trigger e
  union all
  select 'publication ' || quote_ident(p.pubname), 'definition',
    format('%s%s', case when p.puballtables then 'all tables' else coalesce((select string_agg(pr.prrelid::regclass::text, ', ' order by pr.prrelid::regclass::text) from pg_publication_rel pr where pr.prpubid = p.oid), 'none') end,
      coalesce(' and schemas ' || (select string_agg(ps.pnnspid::regnamespace::text, ', ') from pg_publication_namespace ps where ps.pnpubid = p.oid), ''))
  from pg_publication p
  union all
  select 'foreign server ' || quote_ident(s.srvname), 'definition', format('%s owner %s', (select w.fdwname from pg_foreign_data_wrapper w where w.oid = s.srvfdw), s.srvowner::regrole)
  from pg_foreign_server s
  union all
  select 'statistics ' || quote_ident(s.stxname), 'definition', pg_get_statisticsobjdef(s.oid)
  from pg_statistic_ext s join relations r on r.oid = s.stxrelid
  union all
  select 'settings', format('%s of %s', split_part(c, '=', 1),
      coalesce(nullif(d.setrole, 0)::regrole::text, 'every role')), substr(c, strpos(c, '=') + 1)
  from pg_db_role_setting d cross join unnest(d.setconfig) c
  where d.setdatabase = (select oid from pg_database where datname = current_database())
     or (d.setdatabase = 0 and d.setrole in (select oid from roles_in_use))
  union all
  select 'role ' || quote_ident(o.rolname), 'attributes',
    concat_ws(' ', case when o.rolsuper then 'superuser' end, case when o.rolbypassrls then 'bypassrls' end, case when o.rolcreaterole then 'createrole' end,
      case when o.rolcreatedb then 'createdb' end, case when o.rolreplication then 'replication' end, case when o.rolcanlogin then 'login' else 'nologin' end, case when not o.rolinherit then 'noinherit' end)
  from pg_roles o where o.oid in (select oid from roles_in_use)
  union all
  select 'role ' || quote_ident(o.rolname), 'member of ' || quote_ident(g.rolname),
    max(concat_ws(' ', case when (to_jsonb(m) ->> 'inherit_option') = 'false' then 'without inherit' end, case when (to_jsonb(m) ->> 'set_option') = 'false' then 'without set' end, case when m.admin_option then 'with admin' end))
  from pg_auth_members m join pg_roles o on o.oid = m.member join pg_roles g on g.oid = m.roleid
  where m.member in (select oid from roles_in_use) group by 1, 2
  union all
  select format('%s %s', o.type, o.identity), 'comment', d.description
  from pg_description d
  cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) o
  where d.classoid <> 'pg_cast'::regclass
    and (d.classoid in ('pg_class'::regclass) and d.objoid in (select oid from relations)
      or d.classoid = 'pg_proc'::regclass and d.objoid in (select oid from functions)
      or d.classoid = 'pg_type'::regclass and d.objoid in (select oid from types)
      or d.classoid = 'pg_namespace'::regclass and d.objoid in (select oid from spaces)
      or d.classoid in ('pg_policy'::regclass, 'pg_trigger'::regclass, 'pg_constraint'::regclass, 'pg_rewrite'::regclass))
)
select object, attribute, value from lines
union all
select object, attribute, value from grants
order by 1, 2
