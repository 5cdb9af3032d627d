-- title: only a view's own condition keeps tenants apart
-- severity: note
-- why: No policy binds the view's owner; the condition does today, as long as nobody edits it.
-- bad: create view v with (security_barrier) as select * from patients where tenant_id = ...;  -- owned by a superuser
-- good: create view v with (security_invoker) as select * from patients;
-- fix: Set `security_invoker = true`.
-- source: PostgreSQL manual, CREATE VIEW
-- needs: exposing-views
select distinct v.label as object, c.acting_name as role, 'select' as action,
       format('it reads `%s` as `%s`, %s; its own condition and security_barrier close it', r.label, e.owner, e.why) as detail
from exposed e
join relation v on v.oid = e.view and v.kind = 'view'
join relation r on r.oid = e.base
join can c on c.relation = v.oid and c.privilege = 'SELECT'
where e.filtered and e.barrier
