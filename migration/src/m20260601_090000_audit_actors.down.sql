-- kine_audit owns what follows, and the login that migrates is its member for this one transaction.
do $member$
begin
  if not pg_catalog.pg_has_role(current_user, 'kine_audit', 'USAGE') then
    execute format('grant kine_audit to %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', current_user, true);
  end if;
exception when insufficient_privilege then
  raise exception 'this migration changes what kine_audit owns, and "%" may not act as it', current_user
    using errcode = 'insufficient_privilege',
          hint = 'run it as a superuser, or as the CREATEROLE role that made kine_audit';
end
$member$;

drop view public.api_audit_events;
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
grant select on public.api_audit_events to kine_auditor;

create or replace trigger record_audit_event after insert on public.note_versions
  for each row execute function public.record_audit_event('note_id');
alter table public.note_versions enable trigger record_audit_event;
set local role kine_owner;
create or replace trigger record_audit_event after insert or update or delete on public.tenants
  for each row execute function public.record_audit_event('tenant_id');
alter table public.tenants enable trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.users
  for each row execute function public.record_audit_event('id');
alter table public.users enable trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.patients
  for each row execute function public.record_audit_event('id');
alter table public.patients enable trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.appointments
  for each row execute function public.record_audit_event('id');
alter table public.appointments enable trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.encounters
  for each row execute function public.record_audit_event('id');
alter table public.encounters enable trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.notes
  for each row execute function public.record_audit_event('id');
alter table public.notes enable trigger record_audit_event;
alter table public.notes enable trigger record_first_version;
alter table public.notes enable trigger record_next_version;
reset role;

create or replace function public.record_audit_event() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  clinic uuid;
  affected uuid;
  changed text[];
begin
  -- The first argument of the trigger names the column that is the row's id. The common one is read
  -- directly; to make JSON of a whole row for it would cost more than the event.
  if tg_op = 'DELETE' then
    clinic := old.tenant_id;
    affected := (to_jsonb(old) ->> tg_argv[0])::uuid;
  else
    clinic := new.tenant_id;
    if tg_argv[0] = 'id' then
      affected := new.id;
    else
      affected := (to_jsonb(new) ->> tg_argv[0])::uuid;
    end if;
  end if;
  if tg_op = 'UPDATE' then
    changed := array(
      select a.key
        from jsonb_each(to_jsonb(new)) a, to_jsonb(old) b
       where a.key <> 'updated_at' and a.value is distinct from b -> a.key
       order by a.key);
    if changed = '{}' then
      return null;
    end if;
  end if;
  insert into public.audit_events (tenant_id, action, table_name, row_id, changed_columns)
  values (clinic, lower(tg_op), tg_table_name, affected, changed);
  return null;
end
$body$;
comment on function public.record_audit_event() is
  'Trigger, for each row: writes one audit event. Argument: the column that holds the row''s id.';
drop function public.audited_as(regclass, text);
drop function public.record_export(text[]);
drop function public.audit_digest(uuid, text);
drop table public.audit_keys;
alter table public.audit_events drop column digests;
alter table public.audit_events drop column system_actor;

do $member$
begin
  if nullif(pg_catalog.current_setting('kine.joined_audit', true), '') is not null then
    execute format('revoke kine_audit from %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', '', true);
  end if;
end
$member$;
