-- The newest events of a clinic that fit, oldest first.
select f.occurred_at, f.actor, f.action, f.table_name, f.row_id, f.changed_columns, f.application_name
from (
  select e.occurred_at as at, e.id,
    to_char(e.occurred_at, 'YYYY-MM-DD HH24:MI:SS') as occurred_at,
    coalesce(e.actor_id::text, e.system_actor || ' (' || e.db_user || ')', e.db_user) as actor,
    e.action, e.table_name, e.row_id, e.changed_columns, e.application_name
  from public.audit_events e
  where e.tenant_id = $1
    and ($2::uuid is null or e.actor_id = $2)
    and ($3::timestamptz is null or e.occurred_at >= $3)
    and ($4::text is null or e.table_name = $4)
    and ($5::uuid is null or e.row_id = $5)
  order by e.occurred_at desc, e.id desc
  limit $6
) f
order by f.at, f.id
