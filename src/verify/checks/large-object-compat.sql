-- title: large objects ask no privileges
-- severity: error
-- why: With `lo_compat_privileges` every role reads and writes every large object.
-- bad: lo_compat_privileges = on
-- good: lo_compat_privileges = off
-- fix: Switch the setting off.
-- source: PostgreSQL manual, 20.13.1 Previous PostgreSQL Versions
-- needs: large-objects, roles
select 'database' as object, null as role, null as action, 'lo_compat_privileges is on' as detail,
       'alter system reset lo_compat_privileges; select pg_reload_conf();' as fix
where current_setting('lo_compat_privileges') = 'on' and exists (select from acting)
union all
select distinct 'database', m.acting_name, null, format('large objects are owned by or granted to `%s`, which acts for all tenants', m.acting_name), null
from pg_catalog.pg_largeobject_metadata l
left join lateral aclexplode(l.lomacl) a on true
join member m on m.oid in (l.lomowner, a.grantee) or a.grantee = 0
where not m.unbound
