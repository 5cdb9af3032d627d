-- title: the application may create schemas, publications and extensions
-- severity: warning
-- why: CREATE on the database gives it a place for objects of its own, and trusted extensions.
-- bad: grant create on database clinic to app;
-- good: grant connect on database clinic to app;
-- fix: Revoke CREATE on the database.
-- source: PostgreSQL manual, 5.8 Privileges
-- needs: creators
select current_database() as object, m.acting_name as role, null as action, format('`%s` has CREATE on the database%s', m.acting_name, min(m.via)) as detail,
       format('revoke create on database %I from public, %I;', current_database(), m.acting_name) as fix
from member m
where not m.unbound and has_database_privilege(m.oid, current_database(), 'CREATE')
  and m.oid <> (select datdba from pg_catalog.pg_database where datname = current_database())
group by m.acting_name
