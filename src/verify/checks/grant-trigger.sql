-- title: the application may put triggers or foreign keys on a table of tenants
-- severity: warning
-- why: A trigger runs in the sessions of all tenants; a foreign key tells by its errors which keys exist. Neither is asked by policies.
-- bad: grant all on appointments to app;
-- good: grant select, insert, update, delete on appointments to app;
-- fix: Revoke TRIGGER and REFERENCES.
-- source: PostgreSQL manual, GRANT; 5.9 Row Security Policies
-- needs: table-rights
select r.label as object, c.acting_name as role, null as action,
       format('`%s` has %s%s', c.acting_name, string_agg(distinct c.privilege, ' and '), min(c.via)) as detail,
       format('revoke trigger, references on %s from %I;', r.label, c.acting_name) as fix
from can c join relation r on r.oid = c.relation
where c.privilege in ('TRIGGER', 'REFERENCES') and r.stored and r.tenanted
group by r.label, c.acting_name
