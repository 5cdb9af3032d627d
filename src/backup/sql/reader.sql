-- Whether row security leaves this session alone, and a role that it may become which it leaves alone.
select r.rolsuper or r.rolbypassrls,
  (select g.rolname::text from pg_catalog.pg_roles g
    where g.rolbypassrls and not g.rolsuper and g.oid <> r.oid and pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')
    order by g.rolname <> 'kine_backup', g.rolname limit 1),
  r.rolname::text
from pg_catalog.pg_roles r where r.rolname = current_user
