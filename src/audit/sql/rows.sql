-- One audited table of one clinic against its trail. Rows older than the oldest event that is kept are no finding.
with kept as (
  select min(e.occurred_at) as since from public.audit_events e where e.tenant_id = $1::uuid
), told as (
  select e.row_id, bool_or(e.action = 'insert') as came, bool_or(e.action = 'delete') as went,
    max(e.occurred_at) filter (where e.action in ('insert', 'update')) as changed_at
  from public.audit_events e
  where e.tenant_id = $1::uuid and e.table_name = {name} and e.action in ('insert', 'update', 'delete')
  group by 1
), here as (
  select t.{id} as row_id, {created} as created_at, {updated} as updated_at from {table} t where t.tenant_id = $1::uuid
)
select
  count(*) filter (where h.row_id is not null and t.came is not true and h.created_at >= k.since),
  count(*) filter (where h.row_id is not null and h.updated_at >= k.since
                     and (t.changed_at is null or h.updated_at > t.changed_at)
                     and not (t.came is not true and h.created_at >= k.since)),
  count(*) filter (where h.row_id is null and t.came and not t.went)
from here h
full join told t on t.row_id = h.row_id
cross join kept k
