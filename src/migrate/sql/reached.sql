-- Whether anybody but superusers could notice that the relations $1 changed: rights on them, or on what shows
-- their rows, hands them down, refers to them or is referred to; functions that name them, or could put the name
-- together; copies that are sent elsewhere. $2: roles that the configuration names. In doubt true.
with recursive near (oid) as (
  select r.oid from unnest($1::oid[]) as r(oid)
  union
  select other.oid from near n
  cross join lateral (
    select w.ev_class from pg_catalog.pg_depend d join pg_catalog.pg_rewrite w on w.oid = d.objid
    where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = n.oid
    union all
    select p.polrelid from pg_catalog.pg_depend d join pg_catalog.pg_policy p on p.oid = d.objid
    where d.classid = 'pg_catalog.pg_policy'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = n.oid
    union all
    select k.conrelid from pg_catalog.pg_depend d join pg_catalog.pg_constraint k on k.oid = d.objid
    where d.classid = 'pg_catalog.pg_constraint'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = n.oid and k.conrelid <> 0
    union all
    select k.confrelid from pg_catalog.pg_constraint k where k.conrelid = n.oid and k.contype = 'f'
    union all
    select i.inhparent from pg_catalog.pg_inherits i where i.inhrelid = n.oid
    union all
    select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = n.oid
  ) other(oid)
), named as materialized (
  select n.oid, c.oid as there, c.relname, c.relowner, c.relacl, o.rolsuper as by_superuser
  from near n left join pg_catalog.pg_class c on c.oid = n.oid left join pg_catalog.pg_roles o on o.oid = c.relowner
)
select
  -- What is gone cannot be asked any more.
  exists (select from named where there is null or by_superuser is not true or relname like '%"%')
  or exists (select from named n cross join lateral pg_catalog.aclexplode(n.relacl) a where a.grantee <> n.relowner)
  or exists (select from named n join pg_catalog.pg_attribute t on t.attrelid = n.oid and t.attacl is not null)
  or exists (select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.roleid
             where r.rolsuper or r.rolbypassrls or r.rolname in ('pg_read_all_data', 'pg_write_all_data'))
  or exists (select from pg_catalog.pg_roles r where r.rolname = any ($2::text[]) and (r.rolsuper or r.rolbypassrls))
  or exists (select from pg_catalog.pg_publication)
  or exists (select from pg_catalog.pg_depend d join named n on d.refobjid = n.oid
             where d.classid = 'pg_catalog.pg_proc'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass)
  or exists (select from pg_catalog.pg_trigger t join named n on n.oid = t.tgrelid where not t.tgisinternal)
  or exists (
    select from pg_catalog.pg_proc f join pg_catalog.pg_language l on l.oid = f.prolang
    -- those below came with the server
    where f.oid >= 16384
      and (f.prosecdef and (l.lanname not in ('sql', 'plpgsql') or f.prosrc ~* '\mexecute\M')
           or exists (select from named n where strpos(lower(f.prosrc), lower(n.relname)) > 0)))
