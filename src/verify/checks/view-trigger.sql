-- title: a view's INSTEAD OF trigger writes with rights that no policy binds
-- severity: error
-- why: The trigger's function is SECURITY DEFINER and its owner is not bound: it writes whatever tenant the caller names.
-- bad: create trigger t instead of insert on v for each row execute function definer_function();
-- good: the same function as SECURITY INVOKER
-- fix: Make the function SECURITY INVOKER, or give it an owner that FORCE binds.
-- source: PostgreSQL manual, CREATE TRIGGER; CREATE FUNCTION
-- excepts: definer
-- needs: view-triggers, unbound-owners
select distinct v.label as object, c.acting_name as role, lower(c.privilege) as action,
       format('its trigger `%s` runs `%s` as `%s`, %s, which writes to `%s`', t.tgname, f.label, f.owner_name, x.why, r.label) as detail,
       format('alter function %s security invoker;', f.label) as fix, v.label as cells
from pg_catalog.pg_trigger t
join relation v on v.oid = t.tgrelid
join routine f on f.oid = t.tgfoid and f.definer
join unbound_write x on x.function = f.oid
join relation r on r.oid = x.relation
join can c on c.relation = v.oid and c.rank between 2 and 4
  and (t.tgtype & case c.privilege when 'INSERT' then 4 when 'DELETE' then 8 else 16 end) <> 0
where (t.tgtype & 64) <> 0 and not t.tgisinternal and t.tgenabled <> 'D'
  and not exists (select from setting s where s.name = any (f.settings))
