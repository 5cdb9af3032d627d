-- What decides who reaches which rows, as one hash per relation, per function, and for what concerns all.
-- Comparing two of these tells what a migration touched, dropped things included.
with spaces as materialized (
  select oid, nspacl, nspowner from pg_catalog.pg_namespace
  where nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_(toast|temp)'
), parts (kind, oid, part) as (
  select 'relation', c.oid, concat_ws('|', 'c', c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
      c.reloptions, c.relispartition, pg_catalog.pg_get_expr(c.relpartbound, c.oid), c.relnamespace, c.relname)
  from pg_catalog.pg_class c where c.relnamespace in (select oid from spaces) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  union all
  select 'relation', a.attrelid, concat_ws('|', 'a', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attacl, a.attgenerated, a.attisdropped)
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
  where c.relnamespace in (select oid from spaces) and a.attnum > 0 and c.relkind in ('r', 'p', 'v', 'm', 'f')
  union all
  select 'relation', d.adrelid, concat_ws('|', 'd', d.adnum, pg_catalog.pg_get_expr(d.adbin, d.adrelid)) from pg_catalog.pg_attrdef d
  union all
  select 'relation', p.polrelid, concat_ws('|', 'p', p.polname, p.polcmd, p.polpermissive, p.polroles,
      pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
  from pg_catalog.pg_policy p
  union all
  select 'relation', t.tgrelid, concat_ws('|', 't', t.tgname, t.tgenabled, t.tgfoid, t.tgtype, t.tgargs) from pg_catalog.pg_trigger t where not t.tgisinternal
  union all
  select 'relation', k.conrelid, concat_ws('|', 'k', k.conname, k.convalidated, pg_catalog.pg_get_constraintdef(k.oid))
  from pg_catalog.pg_constraint k where k.conrelid <> 0 and k.connamespace in (select oid from spaces)
  union all
  select 'relation', i.indrelid, concat_ws('|', 'i', i.indkey, i.indisvalid, pg_catalog.pg_get_expr(i.indpred, i.indrelid))
  from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indrelid where i.indisunique and c.relnamespace in (select oid from spaces)
  union all
  select 'relation', w.ev_class, concat_ws('|', 'w', w.rulename, w.ev_enabled, pg_catalog.pg_get_ruledef(w.oid))
  from pg_catalog.pg_rewrite w join pg_catalog.pg_class c on c.oid = w.ev_class where c.relnamespace in (select oid from spaces)
  union all
  select 'relation', h.inhrelid, concat_ws('|', 'h', h.inhparent) from pg_catalog.pg_inherits h
  union all
  select 'function', f.oid, concat_ws('|', f.proname, f.pronamespace, f.proowner, f.proacl, f.prosecdef, f.provolatile, f.proleakproof, f.proconfig, f.prosrc, f.proargtypes)
  from pg_catalog.pg_proc f where f.pronamespace in (select oid from spaces)
  union all
  select 'global', 0, concat_ws('|', 'n', s.oid, s.nspowner, s.nspacl) from spaces s
  union all
  select 'global', 0, concat_ws('|', 'm', m.roleid, m.member, m.admin_option, pg_catalog.to_jsonb(m) -> 'inherit_option', pg_catalog.to_jsonb(m) -> 'set_option')
  from pg_catalog.pg_auth_members m
  union all
  select 'global', 0, concat_ws('|', 'r', r.oid, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcanlogin, r.rolinherit, r.rolreplication) from pg_catalog.pg_roles r
  union all
  select 'global', 0, concat_ws('|', 's', s.setdatabase, s.setrole, s.setconfig) from pg_catalog.pg_db_role_setting s
  union all
  select 'global', 0, concat_ws('|', 'v', d.defaclrole, d.defaclnamespace, d.defaclobjtype, d.defaclacl) from pg_catalog.pg_default_acl d
  union all
  select 'global', 0, concat_ws('|', 'b', d.datdba, d.datacl) from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()
  union all
  select 'global', 0, concat_ws('|', 'e', e.extname, e.extversion) from pg_catalog.pg_extension e
  union all
  select 'global', 0, concat_ws('|', 'u', p.pubname, p.puballtables, (select array_agg(x.prrelid order by x.prrelid) from pg_catalog.pg_publication_rel x where x.prpubid = p.oid))
  from pg_catalog.pg_publication p
  union all
  select 'global', 0, concat_ws('|', 'f', s.srvname, s.srvowner, s.srvacl) from pg_catalog.pg_foreign_server s
  union all
  select 'global', 0, concat_ws('|', 'o', o.oprname, o.oprnamespace, o.oprcode, o.oprowner) from pg_catalog.pg_operator o where o.oprnamespace in (select oid from spaces)
  union all
  select 'global', 0, concat_ws('|', 'c', x.castsource, x.casttarget, x.castfunc) from pg_catalog.pg_cast x where x.oid >= 16384
  union all
  select 'global', 0, concat_ws('|', 'a', a.parname, a.paracl) from pg_catalog.pg_parameter_acl a
  union all
  select 'global', 0, concat_ws('|', 'l', l.oid, l.lomowner, l.lomacl) from pg_catalog.pg_largeobject_metadata l
)
select kind, oid::bigint, md5(string_agg(part, ';' order by part collate "C"))
from parts group by kind, oid
