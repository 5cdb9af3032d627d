-- Other databases that one of the roles can connect to.
select d.datname::text
from pg_catalog.pg_database d
where d.datallowconn and not d.datistemplate and d.datname <> pg_catalog.current_database()
  and exists (select from pg_catalog.pg_roles r
              where r.rolname = any ($1) and pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT'))
order by 1
