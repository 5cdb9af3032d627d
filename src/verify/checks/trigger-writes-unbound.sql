-- title: a trigger writes to tenants' tables with rights that no policy binds
-- severity: note
-- why: What it writes is checked by nothing but its own text.
-- bad: a SECURITY DEFINER trigger function owned by a superuser
-- good: one that is owned by a role which FORCE binds
-- fix: Give the function an owner that FORCE binds.
-- source: PostgreSQL manual, CREATE FUNCTION
-- needs: triggers, unbound-owners
select distinct f.label as object, null as role, null as action,
       format('the trigger `%s` on `%s` runs it as `%s`, %s; it writes to `%s`', t.tgname, s.label, f.owner_name, x.why, r.label) as detail
from pg_catalog.pg_trigger t
join relation s on s.oid = t.tgrelid
join routine f on f.oid = t.tgfoid and f.definer
join free x on x.role = f.owner and x.relation = any (f.writes)
join relation r on r.oid = x.relation
where not t.tgisinternal and (t.tgtype & 64) = 0
