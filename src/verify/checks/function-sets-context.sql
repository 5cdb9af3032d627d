-- title: a function that the application calls chooses the tenant
-- severity: error
-- why: One that takes the tenant from its caller may be the declared way into a context, and is a note. One that chooses the tenant itself and reads or writes rows there brings another tenant's rows to its caller.
-- bad: create function cheapest() ... begin perform set_config('app.tenant_id', '2', true); return (select min(price) from products); end
-- good: the same without `set_config`, in the caller's own context
-- fix: Leave the context to the caller; where a job goes through all tenants, revoke EXECUTE from PUBLIC and from the application.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- excepts: definer
-- needs: sets, roles
select f.label as object, min(c.acting_name) as role, 'execute' as action,
       format('it sets `%s` for the transaction%s', s.name, case when w.tables is not null then format(' to a tenant of its own choice, and %s %s there', case when w.writes then 'writes to' else 'reads' end, w.tables) else '' end) as detail,
       case when w.tables is null then 'note' end as severity
from routine f
join setting s on s.name = any (f.sets) or s.name = any (f.chooses)
join callable c on c.function = f.oid
left join lateral (
  select string_agg(format('`%s`', r.label), ', ') as tables, coalesce(bool_or(r.oid = any (f.writes)), false) as writes
  from relation r where r.tenanted and r.oid = any (f.reads) and s.in_context and s.name = any (f.chooses)
    and exists (select from predicate p where p.relation = r.oid and p.body->'settings' ? s.name)) w on true
where s.name = any (f.sets) or w.tables is not null
group by f.label, s.name, w.tables, w.writes
