-- title: the application owns the database
-- severity: error
-- why: The owner of a database can drop it, set defaults for every session in it, and create schemas and publications.
-- bad: alter database clinic owner to app;
-- good: alter database clinic owner to schema_owner;
-- fix: Give the database to a role that the application is not a member of.
-- source: PostgreSQL manual, ALTER DATABASE
-- needs: creators
select d.datname as object, m.acting_name as role,
       format('`%s` owns the database `%s`: it can set `%s` for every session%s', m.name, d.datname,
              coalesce((select name from setting where in_context limit 1), 'search_path'), m.via) as detail,
       format('alter database %I owner to another_role;', d.datname) as fix
from member m join pg_catalog.pg_database d on d.datdba = m.oid and d.datname = current_database()
where not m.unbound
