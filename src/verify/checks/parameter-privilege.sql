-- title: the application may change a setting that is reserved for superusers
-- severity: error
-- why: `session_replication_role = replica` switches triggers and foreign keys off; other such settings open the log or files.
-- bad: grant set on parameter session_replication_role to app;
-- good: revoke set on parameter session_replication_role from app;
-- fix: Revoke the privilege on the parameter.
-- source: PostgreSQL manual, GRANT ON PARAMETER
-- needs: parameter-rights, roles
select p.parname as object, m.acting_name as role,
       format('`%s` has %s on the parameter `%s`%s', coalesce(nullif(m.name, ''), 'PUBLIC'), string_agg(a.privilege_type, ', ' order by a.privilege_type), p.parname, m.via) as detail,
       format('revoke all on parameter %s from %s;', p.parname, case when a.grantee = 0 then 'public' else quote_ident(m.name) end) as fix,
       case when p.parname in ('session_replication_role', 'lo_compat_privileges', 'session_preload_libraries', 'local_preload_libraries', 'dynamic_library_path', 'allow_system_table_mods')
                 or bool_or(a.privilege_type = 'ALTER SYSTEM') then 'error' else 'warning' end as severity
from pg_catalog.pg_parameter_acl p, aclexplode(p.paracl) a, member m
where (a.grantee = m.oid or a.grantee = 0) and not m.rolsuper
group by p.parname, m.acting_name, m.name, m.via, a.grantee
