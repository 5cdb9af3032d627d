-- What decides who reaches which rows, as one number per relation, per function, and for what concerns all.
-- Comparing two of these tells what a migration touched, dropped things included.
--
-- Rows of relations and functions are told by their version: whoever changes a row writes a new one, in another
-- place and with the number of his own transaction. That is cheaper by far than to print what the row says, and
-- takes a change that means nothing for a change, never the other way round.
with spaces as materialized (
  select oid from pg_catalog.pg_namespace
  where nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_(toast|temp)'
), relation as materialized (
  select c.oid, c.ctid as place, c.xmin as version from pg_catalog.pg_class c
  where c.relnamespace in (select oid from spaces) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
), rows (kind, oid, place, version) as (
  select 'relation', c.oid, c.place, c.version from relation c
  union all
  select 'relation', a.attrelid, a.ctid, a.xmin from pg_catalog.pg_attribute a join relation c on c.oid = a.attrelid where a.attnum > 0
  union all
  select 'relation', d.adrelid, d.ctid, d.xmin from pg_catalog.pg_attrdef d join relation c on c.oid = d.adrelid
  union all
  select 'relation', p.polrelid, p.ctid, p.xmin from pg_catalog.pg_policy p
  union all
  select 'relation', t.tgrelid, t.ctid, t.xmin from pg_catalog.pg_trigger t join relation c on c.oid = t.tgrelid where not t.tgisinternal or t.tgenabled <> 'O'
  union all
  select 'relation', k.conrelid, k.ctid, k.xmin from pg_catalog.pg_constraint k join relation c on c.oid = k.conrelid
  union all
  select 'relation', i.indrelid, i.ctid, i.xmin from pg_catalog.pg_index i join relation c on c.oid = i.indrelid where i.indisunique or i.indisexclusion
  union all
  select 'relation', w.ev_class, w.ctid, w.xmin from pg_catalog.pg_rewrite w join relation c on c.oid = w.ev_class
  union all
  select 'relation', h.inhrelid, h.ctid, h.xmin from pg_catalog.pg_inherits h
  union all
  select 'function', f.oid, f.ctid, f.xmin from pg_catalog.pg_proc f where f.pronamespace in (select oid from spaces)
  union all
  select 'global', 0, l.ctid, l.xmin from pg_catalog.pg_largeobject_metadata l
  union all
  -- Rights on what belongs to the server itself.
  select 'global', 0, f.ctid, f.xmin from pg_catalog.pg_proc f where f.oid < 16384 and f.proacl is not null
  union all
  select 'global', 0, c.ctid, c.xmin from pg_catalog.pg_class c where c.oid < 16384 and c.relacl is not null
  union all
  select 'global', 0, a.ctid, a.xmin from pg_catalog.pg_attribute a where a.attrelid < 16384 and a.attacl is not null
), said (part) as (
  select concat_ws('|', 'n', s.oid, s.nspowner, s.nspacl) from pg_catalog.pg_namespace s where s.nspname !~ '^pg_(toast|temp)'
  union all
  select concat_ws('|', 'm', m.roleid, m.member, m.admin_option, pg_catalog.to_jsonb(m) -> 'inherit_option', pg_catalog.to_jsonb(m) -> 'set_option')
  from pg_catalog.pg_auth_members m
  union all
  select concat_ws('|', 'r', r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolinherit, r.rolreplication) from pg_catalog.pg_roles r
  union all
  select concat_ws('|', 's', s.setdatabase, s.setrole, s.setconfig) from pg_catalog.pg_db_role_setting s
  union all
  select concat_ws('|', 'v', d.defaclrole, d.defaclnamespace, d.defaclobjtype, d.defaclacl) from pg_catalog.pg_default_acl d
  union all
  select concat_ws('|', 'b', d.datdba, d.datacl) from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()
  union all
  select concat_ws('|', 'e', e.extname, e.extversion) from pg_catalog.pg_extension e
  union all
  select concat_ws('|', 'u', p.pubname, p.puballtables, (select array_agg(x.prrelid order by x.prrelid) from pg_catalog.pg_publication_rel x where x.prpubid = p.oid),
                   (select array_agg(x.pnnspid order by x.pnnspid) from pg_catalog.pg_publication_namespace x where x.pnpubid = p.oid))
  from pg_catalog.pg_publication p
  union all
  select concat_ws('|', 'f', s.srvname, s.srvowner, s.srvacl) from pg_catalog.pg_foreign_server s
  union all
  select concat_ws('|', 'g', u.srvname, u.umuser) from pg_catalog.pg_user_mappings u
  union all
  select concat_ws('|', 'o', o.oprname, o.oprnamespace, o.oprcode, o.oprowner) from pg_catalog.pg_operator o where o.oprnamespace in (select oid from spaces)
  union all
  select concat_ws('|', 'c', x.castsource, x.casttarget, x.castfunc) from pg_catalog.pg_cast x where x.oid >= 16384
  union all
  select concat_ws('|', 'a', a.parname, a.paracl) from pg_catalog.pg_parameter_acl a
)
select kind, oid::bigint, sum(pg_catalog.hashtidextended(place, version::text::bigint))::text
from rows group by kind, oid
union all
select 'global', -1, md5(string_agg(part, ';' order by part collate "C")) from said
