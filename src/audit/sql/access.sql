-- Whether row security binds this session, and a role that it may become which is not bound and reads the trail.
select r.rolsuper or r.rolbypassrls,
  (select g.rolname::text from pg_catalog.pg_roles g
    where g.rolbypassrls and not g.rolsuper and g.oid <> r.oid
      and pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')
      and pg_catalog.has_table_privilege(g.oid, pg_catalog.to_regclass('public.audit_events'), 'SELECT')
    order by g.rolname <> 'kine_backup', g.rolname limit 1)
from pg_catalog.pg_roles r where r.rolname = current_user
