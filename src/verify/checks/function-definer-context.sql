-- title: a function's own conditions keep tenants apart
-- severity: note
-- why: It runs as a role that no policy binds and reads the context itself; the probes call it where they can.
-- bad: create function mine() ... security definer as $$ select * from patients where tenant_id = current_setting(..) $$
-- good: the same as SECURITY INVOKER
-- fix: Make it SECURITY INVOKER where it can be.
-- source: PostgreSQL manual, CREATE FUNCTION
-- excepts: definer
-- needs: definers, unbound-owners
select distinct f.label as object, c.acting_name as role, 'execute' as action,
       format('it runs as `%s`, %s, reads `%s` and the context', f.owner_name, x.why, r.label) as detail
from callable c
join routine f on f.oid = c.function and f.definer
join unbound_read x on x.function = f.oid
join relation r on r.oid = x.relation
where exists (select from setting s where s.name = any (f.settings))
