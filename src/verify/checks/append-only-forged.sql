-- title: the application writes into an append-only table by itself
-- severity: note
-- why: Events that the application may insert can be made up, within its own tenant.
-- bad: grant insert on audit_events to app;
-- good: a trigger with the rights of another role writes the events
-- fix: Revoke INSERT and let a trigger write.
-- source: PostgreSQL manual, GRANT
-- needs: append-only, roles
select r.label as object, c.acting_name as role, 'insert' as action, format('`%s` may insert into it%s', c.acting_name, min(c.via)) as detail
from relation r join can c on c.relation = r.oid and c.privilege = 'INSERT'
where r.append_only and r.stored
group by r.label, c.acting_name
