-- title: the application may truncate a table of tenants
-- severity: error
-- why: TRUNCATE asks no policy: one tenant empties the table of all.
-- bad: grant all on appointments to app;
-- good: grant select, insert, update, delete on appointments to app;
-- fix: Revoke TRUNCATE.
-- source: PostgreSQL manual, 5.9 Row Security Policies: "TRUNCATE and REFERENCES are not subject to row security"
-- needs: table-rights
select r.label as object, c.acting_name as role, 'truncate' as action, format('`%s` has TRUNCATE%s', c.acting_name, min(c.via)) as detail,
       format('revoke truncate on %s from %I;', r.label, c.acting_name) as fix,
       format('begin; set local role %I; truncate %s cascade; rollback;', c.acting_name, r.label) as reproduce,
       r.label as cells
from can c join relation r on r.oid = c.relation
where c.privilege = 'TRUNCATE' and r.stored and r.key_kind <> 'global'
group by r.label, c.acting_name
