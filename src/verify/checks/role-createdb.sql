-- title: the application can create databases
-- severity: warning
-- why: Nothing of the application needs it, and a database of its own is a place to carry data to.
-- bad: alter role app createdb;
-- good: alter role app nocreatedb;
-- fix: Take the attribute away.
-- source: PostgreSQL manual, 22.2 Role Attributes
-- needs: role-attributes
select m.name as object, m.acting_name as role, format('`%s` has CREATEDB%s', m.name, m.via) as detail,
       format('alter role %I nocreatedb;', m.name) as fix
from member m
where m.rolcreatedb and not m.unbound
