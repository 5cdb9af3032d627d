-- title: a function that the application calls chooses the tenant
-- severity: note
-- why: It may be the declared way into a context; where it is SECURITY DEFINER and checks nothing, it is a way into every tenant.
-- bad: create function enter(t uuid) ... security definer as $$ select set_config('app.tenant_id', t::text, true) $$
-- good: the same with a check of membership
-- fix: Check inside of it that the user belongs to the tenant.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- needs: sets, roles
select f.label as object, min(c.acting_name) as role, 'execute' as action, format('it sets `%s` for the transaction', s.name) as detail
from routine f join setting s on s.name = any (f.sets) join callable c on c.function = f.oid
group by f.label, s.name
