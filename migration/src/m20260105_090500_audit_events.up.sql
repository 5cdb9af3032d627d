-- Who did what to which row, by trigger, for every table of a clinic.
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

create table public.audit_events (
  tenant_id uuid not null,
  occurred_at timestamptz not null default clock_timestamp(),
  id uuid not null default gen_random_uuid(),
  action text not null,
  table_name text not null,
  row_id uuid,
  actor_id uuid default nullif(current_setting('app.user_id', true), '')::uuid,
  db_user text not null default session_user,
  changed_columns text[],
  txid bigint not null default pg_current_xact_id()::text::bigint,
  application_name text not null default current_setting('application_name'),
  -- No check: PostgreSQL parses it anew for each statement, and nothing writes here but the functions below.
  constraint audit_events_pkey primary key (tenant_id, occurred_at, id)
) partition by range (occurred_at);
alter table public.audit_events owner to kine_audit;
comment on table public.audit_events is 'What was done in a clinic. Names of columns, never their values. Written by triggers and by record_read, never changed.';
comment on column public.audit_events.tenant_id is 'The clinic. No reference: the record outlives what it tells of.';
comment on column public.audit_events.occurred_at is 'When, by the server''s clock; the partitions are months of it in UTC.';
comment on column public.audit_events.id is 'Tells events of one instant apart; the row''s own id, or a random one. Unique only with the clinic and the time.';
comment on column public.audit_events.action is 'insert, update, delete, read or export.';
comment on column public.audit_events.table_name is 'Table of the row.';
comment on column public.audit_events.row_id is 'The row within its clinic.';
comment on column public.audit_events.actor_id is 'The user of the session (app.user_id); null where no user acted, for example a data migration.';
comment on column public.audit_events.db_user is 'The login of the session.';
comment on column public.audit_events.changed_columns is 'For an update: names of the columns that changed.';
comment on column public.audit_events.txid is 'The transaction, 64 bits; events of one transaction share it.';
comment on column public.audit_events.application_name is 'application_name of the session.';

create index audit_events_by_row on public.audit_events (tenant_id, row_id, occurred_at);

create table public.audit_events_default partition of public.audit_events default;
alter table public.audit_events_default owner to kine_audit;
comment on table public.audit_events_default is 'Events of months that have no partition. Should be empty.';

create function public.record_audit_event() returns trigger
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
alter function public.record_audit_event() owner to kine_audit;
revoke all on function public.record_audit_event() from public;
comment on function public.record_audit_event() is
  'Trigger, for each row: writes one audit event. Argument: the column that holds the row''s id.';

create function public.record_read(resource text, row_ids uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
begin
  if nullif(current_setting('app.user_id', true), '') is null then
    raise exception 'a read is recorded for a user, and app.user_id is not set'
      using errcode = 'invalid_parameter_value';
  end if;
  if not exists (
    select from pg_catalog.pg_trigger t
     join pg_catalog.pg_class c on c.oid = t.tgrelid
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relname = resource
      and t.tgfoid = 'public.record_audit_event()'::regprocedure)
  then
    raise exception 'table "%" has no audit', resource using errcode = 'undefined_table';
  end if;
  insert into public.audit_events (tenant_id, action, table_name, row_id)
  select current_setting('app.tenant_id')::uuid, 'read', resource, r.row_id
    from unnest(row_ids) as r (row_id);
end
$body$;
alter function public.record_read(text, uuid[]) owner to kine_audit;
revoke all on function public.record_read(text, uuid[]) from public;
comment on function public.record_read(text, uuid[]) is
  'Records that the session''s user read these rows of its own clinic. Writes nothing but reads.';

create function public.create_audit_partition(month date) returns regclass
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  first_day constant date := date_trunc('month', month)::date;
  part_name constant text := 'audit_events_' || to_char(month, 'YYYY_MM');
  part regclass;
  rule record;
begin
  -- Two callers must not both find that the month is missing.
  lock table public.audit_events in share update exclusive mode;
  part := to_regclass(format('public.%I', part_name));
  if part is not null then
    return part;
  end if;

  -- Made apart and closed first, attached last: attaching does not block those who write the current month.
  execute format('create table public.%I (like public.audit_events including all)', part_name);
  part := format('public.%I', part_name)::regclass;
  execute format('comment on table %s is %L', part, 'Audit events of ' || to_char(month, 'YYYY-MM') || ' in UTC.');
  execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup', part);
  execute format('grant select on table %s to kine_backup', part);
  execute format('alter table %s enable row level security', part);
  execute format('alter table %s force row level security', part);
  for rule in
    select p.polname,
           case when p.polpermissive then 'permissive' else 'restrictive' end as kind,
           case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                         when 'd' then 'delete' else 'all' end as command,
           (select string_agg(case r.oid when 0 then 'public' else quote_ident(a.rolname) end, ', ')
              from unnest(p.polroles) as r (oid) left join pg_catalog.pg_roles a on a.oid = r.oid) as roles,
           ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')' as qual,
           ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')' as with_check
      from pg_catalog.pg_policy p
     where p.polrelid = 'public.audit_events'::regclass
  loop
    execute format('create policy %I on %s as %s for %s to %s', rule.polname, part, rule.kind, rule.command, rule.roles)
      || coalesce(rule.qual, '') || coalesce(rule.with_check, '');
  end loop;
  execute format('create trigger worm_statement before update or delete or truncate on %s'
    ' for each statement execute function public.refuse_change()', part);
  execute format('alter table public.audit_events attach partition %s for values from (%L) to (%L)',
    part, first_day::text || ' 00:00:00+00', (first_day + interval '1 month')::date::text || ' 00:00:00+00');
  execute format('alter table %s enable always trigger worm_statement', part);
  execute format('alter table %s enable always trigger worm_row', part);
  return part;
end
$body$;
alter function public.create_audit_partition(date) owner to kine_audit;
revoke all on function public.create_audit_partition(date) from public;
comment on function public.create_audit_partition(date) is
  'Makes the partition of audit_events for the month of the date, as closed as the table itself. Does nothing if it exists.';

create trigger record_audit_event after insert or update or delete on public.tenants
  for each row execute function public.record_audit_event('tenant_id');
create trigger record_audit_event after insert or update or delete on public.users
  for each row execute function public.record_audit_event('id');
create trigger record_audit_event after insert or update or delete on public.patients
  for each row execute function public.record_audit_event('id');
create trigger record_audit_event after insert or update or delete on public.appointments
  for each row execute function public.record_audit_event('id');
create trigger record_audit_event after insert or update or delete on public.encounters
  for each row execute function public.record_audit_event('id');
create trigger record_audit_event after insert or update or delete on public.notes
  for each row execute function public.record_audit_event('id');
create trigger record_audit_event after insert on public.note_versions
  for each row execute function public.record_audit_event('note_id');

-- Class append_only: filled by triggers, partitioned by month, never changed. Everything that holds for the
-- table holds for each of its partitions by itself, because a partition can be named directly.
create or replace trigger worm_row before update or delete on public.audit_events
  for each row execute function public.refuse_change();

-- kinedb: allow policy-true: only kine_audit inserts, of which nobody is a member; the rows carry the tenant of the row that changed
do $class$
declare
  part regclass;
begin
  for part in
    select t.relid from pg_catalog.pg_partition_tree('public.audit_events'::regclass) t
  loop
    execute format('alter table %s enable row level security', part);
    execute format('alter table %s force row level security', part);
    execute format('drop policy if exists tenant_isolation on %s', part);
    execute format($policy$create policy tenant_isolation on %s
      as permissive for all to public
      using (tenant_id = (select current_setting('app.tenant_id')::uuid))
      with check (tenant_id = (select current_setting('app.tenant_id')::uuid))$policy$, part);
    -- The audit triggers also run for a superuser who sets no context; their rows carry the tenant
    -- of the row that changed. Nobody is a member of kine_audit.
    execute format('drop policy if exists audit_writer on %s', part);
    execute format('create policy audit_writer on %s as permissive for insert to kine_audit with check (true)', part);
    execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup', part);
    execute format('grant select on table %s to kine_backup', part);
    execute format('create or replace trigger worm_statement before update or delete or truncate on %s'
      ' for each statement execute function public.refuse_change()', part);
    execute format('alter table %s enable always trigger worm_row', part);
    execute format('alter table %s enable always trigger worm_statement', part);
  end loop;
end
$class$;

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

select public.create_audit_partition((date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead))::date)
  from generate_series(0, 3) as ahead;

do $member$
begin
  if nullif(pg_catalog.current_setting('kine.joined_audit', true), '') is not null then
    execute format('revoke kine_audit from %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', '', true);
  end if;
end
$member$;
