drop view if exists public.api_audit_events;
create view public.api_audit_events
  with (security_invoker = true, security_barrier = true) as
select
  occurred_at,
  id,
  action,
  table_name,
  row_id,
  actor_id,
  db_user,
  changed_columns,
  txid,
  application_name
from public.audit_events;
alter view public.api_audit_events owner to kine_owner;

grant select on public.audit_events to kine_auditor;
grant select on public.api_audit_events to kine_auditor;
grant execute on function public.record_read(text, uuid[]) to kine_app;
grant execute on function public.create_audit_partition(date) to kine_owner;
-- New tables of the owner get the audit trigger; a trigger function can be attached, not called.
grant execute on function public.record_audit_event() to kine_owner;
