-- title: a function carries a tenant or other setting of the policies with it
-- severity: error
-- why: A SET clause of the function holds while it runs: its caller sees what that tenant sees.
-- bad: create function demo() ... set app.tenant_id = '...' as ...
-- good: no SET clause for settings that policies read
-- fix: `alter function ... reset ...`.
-- source: PostgreSQL manual, CREATE FUNCTION, SET clause
-- excepts: bypass-setting
-- needs: function-settings
select f.label as object, min(c.acting_name) as role, 'execute' as action,
       format('it sets `%s` while it runs', split_part(x, '=', 1)) as detail,
       format('alter function %s reset %s;', f.label, split_part(x, '=', 1)) as fix
from routine f
cross join lateral unnest(f.proconfig) x
left join callable c on c.function = f.oid
where lower(split_part(x, '=', 1)) in (select name from setting union select 'session_replication_role')
  and (c.function is not null or exists (select from pg_catalog.pg_trigger t join can k on k.relation = t.tgrelid and k.rank between 2 and 4 where t.tgfoid = f.oid)
       or exists (select from guard g where g.function = f.oid))
group by f.label, x
