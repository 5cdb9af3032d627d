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
  application_name,
  system_actor,
  digests
from public.audit_events;
alter view public.api_audit_events owner to kine_owner;

grant select on public.audit_events to kine_auditor;
grant select on public.api_audit_events to kine_auditor;
grant execute on function public.record_read(text, uuid[]) to kine_app;
grant execute on function public.record_export(text[]) to kine_app, kine_auditor;
grant execute on function public.create_audit_partition(date) to kine_owner;
-- New tables of the owner get the audit trigger; a trigger function can be attached, not called.
grant execute on function public.record_audit_event() to kine_owner;

-- Retention archives what is older than the floor, of every clinic, and reads nothing younger.
do $retention$
declare
  part regclass;
begin
  for part in
    select t.relid from pg_catalog.pg_partition_tree('public.audit_events'::regclass) t
  loop
    execute format('drop policy if exists audit_retention on %s', part);
    execute format('create policy audit_retention on %s as permissive for select to kine_retention'
      ' using (occurred_at < (select now() - public.audit_retention_floor()))', part);
  end loop;
end
$retention$;

grant execute on function public.audit_retention_floor() to kine_retention;
grant execute on function public.create_audit_partition(date) to kine_sealer;
grant select on public.audit_events to kine_retention;
grant execute on function public.retire_audit_month(date, bigint, bytea) to kine_retention;
