-- title: a function sets the tenant for the whole session
-- severity: error
-- why: On a pooled connection the next request inherits the last one's tenant.
-- bad: select set_config('app.tenant_id', t::text, false)
-- good: select set_config('app.tenant_id', t::text, true)
-- fix: Set it for the transaction: `set local`, or `true` as the third argument.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- needs: session-sets, roles
select f.label as object, coalesce(min(c.acting_name), min(k.acting_name)) as role, 'execute' as action,
       format('it sets `%s` beyond the transaction', s.name) as detail
from routine f
join setting s on s.name = any (f.session_sets)
left join callable c on c.function = f.oid
left join pg_catalog.pg_trigger t on t.tgfoid = f.oid
left join can k on k.relation = t.tgrelid and k.rank between 2 and 4
where c.function is not null or k.relation is not null
group by f.label, s.name
