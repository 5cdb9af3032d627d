-- title: the application can read the write-ahead log
-- severity: error
-- why: A login with REPLICATION can stream every change of every tenant; policies do not apply to the log.
-- bad: alter role app replication;
-- good: alter role app noreplication;
-- fix: Take the attribute away; replicate with a login of its own.
-- source: PostgreSQL manual, 49 Logical Decoding; 22.2 Role Attributes
-- needs: role-attributes
select m.name as object, m.acting_name as role,
       format('`%s` has REPLICATION%s', m.name, m.via) as detail,
       format('alter role %I noreplication;', m.name) as fix
from member m
where m.rolreplication and not m.rolsuper
