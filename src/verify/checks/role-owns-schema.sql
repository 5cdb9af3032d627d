-- title: the application owns a schema with tables of tenants
-- severity: error
-- why: The owner of a schema can drop every object in it and put others of the same name in their place.
-- bad: alter schema public owner to app;
-- good: alter schema public owner to schema_owner;
-- fix: Give the schema to the role that owns the tables.
-- source: PostgreSQL manual, 5.8 Privileges; DROP TABLE
-- needs: creators
select n.nspname as object, m.acting_name as role,
       format('`%s` owns the schema `%s`, which holds %s tables of tenants: it can drop and replace them%s', m.name, n.nspname,
              (select count(*) from relation r where r.schema = n.oid and r.tenanted and r.stored), m.via) as detail,
       format('alter schema %I owner to another_role;', n.nspname) as fix,
       format('begin; set local role %I; drop table %s cascade; rollback;', m.name, (select min(r.label) from relation r where r.schema = n.oid and r.tenanted and r.stored)) as reproduce
from member m
join pg_catalog.pg_namespace n on n.nspowner = m.oid
  or (n.nspowner = (select oid from pg_catalog.pg_roles where rolname = 'pg_database_owner')
      and m.oid = (select datdba from pg_catalog.pg_database where datname = current_database()))
where not m.unbound
  and exists (select from relation r where r.schema = n.oid and r.tenanted and r.stored and r.owner <> m.oid)
