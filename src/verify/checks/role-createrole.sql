-- title: the application can create roles and change memberships
-- severity: error
-- why: Up to PostgreSQL 15 CREATEROLE can grant membership in every role that is no superuser, the owner of the tables included; from 16 on in those it administers, and it still makes logins that nobody knows of.
-- bad: alter role app createrole;
-- good: alter role app nocreaterole;
-- fix: Take the attribute away.
-- source: PostgreSQL manual, 22.2 Role Attributes; release notes of 16
-- needs: role-attributes
select m.name as object, m.acting_name as role,
       format('`%s` has CREATEROLE%s%s', m.name, m.via,
              case when current_setting('server_version_num')::int < 160000 then ': it can make itself a member of the owner of the tables' else '' end) as detail,
       format('alter role %I nocreaterole;', m.name) as fix,
       format('begin; set local role %I; grant %I to %I; rollback;', m.name,
              (select o.rolname from relation r join pg_catalog.pg_roles o on o.oid = r.owner where r.tenanted order by r.label limit 1), m.name) as reproduce
from member m
where m.rolcreaterole and not m.rolsuper
