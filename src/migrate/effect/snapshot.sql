-- Who may reach which rows by which way: one line per role, grant, policy, view, function and switch.
-- Of the relations and functions $1, or, where that is null, of all and of what concerns all.
-- Expressions are told by the hash of their stored form, views by the place of theirs; nothing is deparsed here.
with spaces as (
  select oid, nspname, nspowner, nspacl from pg_catalog.pg_namespace
  where nspname !~ '^pg_' and nspname <> 'information_schema'
), relations as (
  select c.oid, format('%I.%I', s.nspname, c.relname) as name, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity, c.reloptions
  from spaces s join pg_catalog.pg_class c on c.relnamespace = s.oid
  where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and ($1::oid[] is null or c.oid = any ($1::oid[]))
    and not (s.nspname = 'public' and c.relname in ('seaql_migrations', 'kinedb_history', 'kinedb_environment', 'kinedb_history_id_seq'))
), bodies (kind, body) as (
  select 'role', json_build_object('id', r.oid::int8, 'name', r.rolname, 'powers', array_remove(array[
      case when r.rolsuper then 'superuser' end, case when r.rolbypassrls then 'bypassrls' end,
      case when r.rolcreaterole then 'createrole' end, case when r.rolreplication then 'replication' end], null))
  from pg_catalog.pg_roles r where $1::oid[] is null
  union all
  select 'member', json_build_object('role', m.roleid::int8, 'member', m.member::int8, 'admin', bool_or(m.admin_option),
      'passive', bool_and(coalesce(pg_catalog.to_jsonb(m) ->> 'inherit_option', 'true') = 'false' and coalesce(pg_catalog.to_jsonb(m) ->> 'set_option', 'true') = 'false'))
  from pg_catalog.pg_auth_members m where $1::oid[] is null group by m.roleid, m.member
  union all
  select 'schema', json_build_object('id', s.oid::int8, 'name', quote_ident(s.nspname), 'owner', s.nspowner::int8, 'acl', s.nspacl::text[])
  from spaces s where $1::oid[] is null
  union all
  select 'relation', json_build_object('id', c.oid::int8, 'name', c.name, 'kind', c.relkind, 'owner', c.relowner::int8, 'acl', c.relacl::text[],
      'rls', c.relrowsecurity, 'force', c.relforcerowsecurity, 'options', c.reloptions,
      'rule', (select concat_ws('|', w.xmin, w.ctid) from pg_catalog.pg_rewrite w where w.ev_class = c.oid and w.rulename = '_RETURN' and c.relkind in ('v', 'm')))
  from relations c
  union all
  select 'column', json_build_object('relation', a.attrelid::int8, 'name', quote_ident(a.attname), 'acl', a.attacl::text[])
  from pg_catalog.pg_attribute a where a.attacl is not null and not a.attisdropped and a.attrelid >= 16384 and ($1::oid[] is null or a.attrelid = any ($1::oid[]))
  union all
  select 'parent', json_build_object('child', h.inhrelid::int8, 'parent', h.inhparent::int8)
  from pg_catalog.pg_inherits h join relations c on c.oid = h.inhrelid
  union all
  select 'policy', json_build_object('id', p.oid::int8, 'relation', p.polrelid::int8, 'name', quote_ident(p.polname), 'permissive', p.polpermissive,
      'command', p.polcmd, 'roles', p.polroles::int8[], 'stored', md5(concat(p.polqual::text, '|', p.polwithcheck::text)),
      'calls', (select json_agg(d.refobjid::int8) from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_catalog.pg_proc'::regclass))
  from pg_catalog.pg_policy p where ($1::oid[] is null or p.polrelid = any ($1::oid[]))
  union all
  select 'function', json_build_object('id', f.oid::int8, 'name', format('%I.%I(%s)', s.nspname, f.proname, pg_catalog.oidvectortypes(f.proargtypes)),
      'owner', f.proowner::int8, 'acl', f.proacl::text[], 'definer', f.prosecdef, 'trigger', f.prorettype in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype),
      'trusted', l.lanpltrusted or l.lanname = 'sql', 'settings', f.proconfig, 'body', md5(concat(f.prosrc, f.probin, f.prosqlbody::text, f.provolatile, f.proleakproof)))
  from spaces s join pg_catalog.pg_proc f on f.pronamespace = s.oid join pg_catalog.pg_language l on l.oid = f.prolang
  where f.oid >= 16384 and ($1::oid[] is null or f.oid = any ($1::oid[])) and f.proname <> 'kinedb_history_guard'
    and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = f.oid and d.deptype = 'e')
  union all
  select 'trigger', json_build_object('relation', t.tgrelid::int8, 'name', quote_ident(t.tgname), 'enabled', t.tgenabled, 'function', t.tgfoid::int8,
      'what', md5(concat_ws('|', t.tgtype, t.tgfoid, t.tgattr::text, t.tgargs, t.tgqual::text)))
  from pg_catalog.pg_trigger t where not t.tgisinternal and t.tgrelid in (select oid from relations)
  union all
  select 'rule', json_build_object('relation', w.ev_class::int8, 'name', quote_ident(w.rulename), 'what', md5(concat_ws('|', w.ev_type, w.ev_enabled, w.is_instead, w.ev_qual::text, w.ev_action::text)))
  from pg_catalog.pg_rewrite w where w.rulename <> '_RETURN' and w.ev_class in (select oid from relations)
  union all
  select 'extension', json_build_object('name', quote_ident(e.extname)) from pg_catalog.pg_extension e where $1::oid[] is null
  union all
  select 'publication', json_build_object('name', quote_ident(p.pubname), 'what', concat_ws('|', p.puballtables,
      (select array_agg(x.prrelid order by x.prrelid) from pg_catalog.pg_publication_rel x where x.prpubid = p.oid),
      (select array_agg(n.pnnspid order by n.pnnspid) from pg_catalog.pg_publication_namespace n where n.pnpubid = p.oid)))
  from pg_catalog.pg_publication p where $1::oid[] is null
  union all
  select 'default', json_build_object('owner', d.defaclrole::int8, 'schema', d.defaclnamespace::int8, 'kind', d.defaclobjtype, 'acl', d.defaclacl::text[])
  from pg_catalog.pg_default_acl d where $1::oid[] is null
  union all
  select 'setting', json_build_object('role', d.setrole::int8, 'settings', d.setconfig)
  from pg_catalog.pg_db_role_setting d where $1::oid[] is null and d.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
  union all
  select 'database', json_build_object('owner', d.datdba::int8, 'acl', coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))::text[])
  from pg_catalog.pg_database d where $1::oid[] is null and d.datname = current_database()
  union all
  select 'server', json_build_object('name', quote_ident(s.srvname), 'acl', s.srvacl::text[]) from pg_catalog.pg_foreign_server s where $1::oid[] is null
  union all
  select 'parameter', json_build_object('name', a.parname, 'acl', a.paracl::text[]) from pg_catalog.pg_parameter_acl a where $1::oid[] is null
)
select kind, body::text from bodies
