-- Who acted: required for patient data, named where no person did; digests of chosen columns; triggers that
-- a replication role does not switch off.
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

alter table public.audit_events add column system_actor text;
alter table public.audit_events add column digests jsonb;
comment on column public.audit_events.system_actor is 'What acted where no user did: seed, a migration, a repair; only a login that may act as kine_owner has one.';
comment on column public.audit_events.digests is 'For columns that opted in: HMAC-SHA256 of the new value under the clinic''s own key, by column name.';

create table public.audit_keys (
  tenant_id uuid not null,
  inner_pad bytea not null,
  outer_pad bytea not null,
  created_at timestamptz not null default now(),
  constraint audit_keys_pkey primary key (tenant_id),
  constraint audit_keys_pads_check check (length(inner_pad) = 64 and length(outer_pad) = 64)
);
alter table public.audit_keys owner to kine_audit;
comment on table public.audit_keys is 'The key of each clinic for digests in audit events, as the two pads of HMAC. Made by trigger when first needed; no role of the product reads it.';
comment on column public.audit_keys.tenant_id is 'The clinic.';
comment on column public.audit_keys.inner_pad is 'The key, exclusive or 0x36.';
comment on column public.audit_keys.outer_pad is 'The key, exclusive or 0x5c.';
comment on column public.audit_keys.created_at is 'When the key was made.';

create function public.audit_digest(clinic uuid, message text) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $body$
declare
  pads record;
  key bytea;
  inner_pad bytea := decode(repeat('36', 64), 'hex');
  outer_pad bytea := decode(repeat('5c', 64), 'hex');
begin
  -- kine_audit is bound by the policy on the keys like everybody else.
  if current_setting('app.tenant_id', true) is distinct from clinic::text then
    raise exception 'columns with digests are written in the context of their clinic only'
      using errcode = 'insufficient_privilege',
            hint = 'select set_config(''app.tenant_id'', ''<tenant id>'', true) first';
  end if;
  select k.inner_pad, k.outer_pad into pads from public.audit_keys k where k.tenant_id = clinic;
  if not found then
    key := uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
    for place in 0 .. length(key) - 1 loop
      inner_pad := set_byte(inner_pad, place, get_byte(inner_pad, place) # get_byte(key, place));
      outer_pad := set_byte(outer_pad, place, get_byte(outer_pad, place) # get_byte(key, place));
    end loop;
    insert into public.audit_keys (tenant_id, inner_pad, outer_pad) values (clinic, inner_pad, outer_pad)
      on conflict do nothing;
    select k.inner_pad, k.outer_pad into strict pads from public.audit_keys k where k.tenant_id = clinic;
  end if;
  return encode(sha256(pads.outer_pad || sha256(pads.inner_pad || convert_to(message, 'UTF8'))), 'hex');
end
$body$;
alter function public.audit_digest(uuid, text) owner to kine_audit;
revoke all on function public.audit_digest(uuid, text) from public;
comment on function public.audit_digest(uuid, text) is
  'HMAC-SHA256 of the text under the clinic''s key. For the audit triggers; granted to nobody.';

-- Whether a table has these columns, of these types, and a trigger that asks for nothing but its id. It is called
-- "immutable" so that the planner puts in the answer: the one who asks names the table as a constant, by which the
-- plan is made anew when the table or one of its triggers was altered. So the question costs nothing where it counts.
create function public.audited_as(audited regclass, columns text) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $body$
begin
  return columns = (
      select string_agg(a.attname || ' ' || t.typname, ', ' order by a.attname collate "C")
        from pg_attribute a join pg_type t on t.oid = a.atttypid and t.typnamespace = 'pg_catalog'::regnamespace
       where a.attrelid = audited and a.attnum > 0 and not a.attisdropped)
    and (
      select count(*) = 1 and bool_and(t.tgnargs = 2 and substring(t.tgargs from 1 for 3) = '\x696400')
        from pg_trigger t
       where t.tgrelid = audited and t.tgfoid = 'public.record_audit_event()'::regprocedure);
end
$body$;
alter function public.audited_as(regclass, text) owner to kine_audit;
revoke all on function public.audited_as(regclass, text) from public;
comment on function public.audited_as(regclass, text) is
  'Whether the columns of a table are these, by name and type in order, and its audit trigger opts none of them in.';

create or replace function public.record_audit_event() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  clinic uuid;
  affected uuid;
  changed text[];
  system text;
  digests jsonb;
  chosen text;
  bytes_as text;
begin
  -- Each expression that is evaluated once costs a single-row statement more than a loop over many rows
  -- would show, because every transaction prepares it anew: what is common is kept short.
  if coalesce(current_setting('app.user_id', true), '') = '' then
    -- Patient data has an author. A login of the product names its user; only who may act as the owner of
    -- the tables (seeds, migrations, repairs) writes without one, and is recorded under a name all the same.
    if pg_has_role(session_user, 'kine_owner', 'MEMBER') then
      system := coalesce(nullif(current_setting('app.system_actor', true), ''), 'unnamed');
    elsif tg_nargs > 1 and tg_argv[1] = 'actor' then
      raise exception 'patient data is written by a user, and app.user_id is not set'
        using errcode = 'invalid_parameter_value',
              hint = 'select set_config(''app.user_id'', ''<user id>'', true) in the same transaction';
    end if;
  end if;
  -- A row's own id tells its event from others of the same instant; making a random one takes a tenth of an event.
  if tg_op = 'UPDATE' and tg_table_schema = 'public' then
    -- Column by column this takes a tenth of what JSON of both rows does. It holds only if the columns named
    -- here are all there are, which is asked of the catalogue when the plan is made.
    if tg_table_name = 'patients' then
      if public.audited_as('public.patients',
        'address text, archived_at timestamptz, birth_date date, created_at timestamptz, email text, '
        'family_name text, given_name text, health_insurance_number text, id uuid, language text, mrn text, '
        'phone text, portal_user_id uuid, preferred_name text, primary_practitioner_id uuid, sex text, '
        'tenant_id uuid, updated_at timestamptz')
      then
        insert into public.audit_events
          (tenant_id, id, action, table_name, row_id, actor_id, system_actor, txid, changed_columns)
        select new.tenant_id, new.id, 'update', 'patients', new.id, nullif(current_setting('app.user_id', true), '')::uuid, system,
          txid_current(), array_remove(array[
            case when new.address is distinct from old.address then 'address' end,
            case when new.archived_at is distinct from old.archived_at then 'archived_at' end,
            case when new.birth_date is distinct from old.birth_date then 'birth_date' end,
            case when new.created_at is distinct from old.created_at then 'created_at' end,
            case when new.email is distinct from old.email then 'email' end,
            case when new.family_name is distinct from old.family_name then 'family_name' end,
            case when new.given_name is distinct from old.given_name then 'given_name' end,
            case when new.health_insurance_number is distinct from old.health_insurance_number then 'health_insurance_number' end,
            case when new.id is distinct from old.id then 'id' end,
            case when new.language is distinct from old.language then 'language' end,
            case when new.mrn is distinct from old.mrn then 'mrn' end,
            case when new.phone is distinct from old.phone then 'phone' end,
            case when new.portal_user_id is distinct from old.portal_user_id then 'portal_user_id' end,
            case when new.preferred_name is distinct from old.preferred_name then 'preferred_name' end,
            case when new.primary_practitioner_id is distinct from old.primary_practitioner_id then 'primary_practitioner_id' end,
            case when new.sex is distinct from old.sex then 'sex' end,
            case when new.tenant_id is distinct from old.tenant_id then 'tenant_id' end], null)
         where record_image_ne(new, old);
        return null;
      end if;
    elsif tg_table_name = 'appointments' then
      if public.audited_as('public.appointments',
        'created_at timestamptz, ends_at timestamptz, id uuid, kind text, patient_id uuid, '
        'practitioner_id uuid, reason text, starts_at timestamptz, status text, tenant_id uuid, '
        'updated_at timestamptz')
      then
        insert into public.audit_events
          (tenant_id, id, action, table_name, row_id, actor_id, system_actor, txid, changed_columns)
        select new.tenant_id, new.id, 'update', 'appointments', new.id, nullif(current_setting('app.user_id', true), '')::uuid, system,
          txid_current(), array_remove(array[
            case when new.created_at is distinct from old.created_at then 'created_at' end,
            case when new.ends_at is distinct from old.ends_at then 'ends_at' end,
            case when new.id is distinct from old.id then 'id' end,
            case when new.kind is distinct from old.kind then 'kind' end,
            case when new.patient_id is distinct from old.patient_id then 'patient_id' end,
            case when new.practitioner_id is distinct from old.practitioner_id then 'practitioner_id' end,
            case when new.reason is distinct from old.reason then 'reason' end,
            case when new.starts_at is distinct from old.starts_at then 'starts_at' end,
            case when new.status is distinct from old.status then 'status' end,
            case when new.tenant_id is distinct from old.tenant_id then 'tenant_id' end], null)
         where record_image_ne(new, old);
        return null;
      end if;
    elsif tg_table_name = 'encounters' then
      if public.audited_as('public.encounters',
        'appointment_id uuid, created_at timestamptz, ended_at timestamptz, id uuid, kind text, '
        'patient_id uuid, practitioner_id uuid, started_at timestamptz, status text, tenant_id uuid, '
        'updated_at timestamptz')
      then
        insert into public.audit_events
          (tenant_id, id, action, table_name, row_id, actor_id, system_actor, txid, changed_columns)
        select new.tenant_id, new.id, 'update', 'encounters', new.id, nullif(current_setting('app.user_id', true), '')::uuid, system,
          txid_current(), array_remove(array[
            case when new.appointment_id is distinct from old.appointment_id then 'appointment_id' end,
            case when new.created_at is distinct from old.created_at then 'created_at' end,
            case when new.ended_at is distinct from old.ended_at then 'ended_at' end,
            case when new.id is distinct from old.id then 'id' end,
            case when new.kind is distinct from old.kind then 'kind' end,
            case when new.patient_id is distinct from old.patient_id then 'patient_id' end,
            case when new.practitioner_id is distinct from old.practitioner_id then 'practitioner_id' end,
            case when new.started_at is distinct from old.started_at then 'started_at' end,
            case when new.status is distinct from old.status then 'status' end,
            case when new.tenant_id is distinct from old.tenant_id then 'tenant_id' end], null)
         where record_image_ne(new, old);
        return null;
      end if;
    elsif tg_table_name = 'notes' then
      if public.audited_as('public.notes',
        'amend_reason text, assessment text, author_id uuid, created_at timestamptz, encounter_id uuid, '
        'extra_sections jsonb, id uuid, objective text, plan text, signed_at timestamptz, status text, '
        'subjective text, tenant_id uuid, updated_at timestamptz, version int4')
      then
        insert into public.audit_events
          (tenant_id, id, action, table_name, row_id, actor_id, system_actor, txid, changed_columns)
        select new.tenant_id, new.id, 'update', 'notes', new.id, nullif(current_setting('app.user_id', true), '')::uuid, system,
          txid_current(), array_remove(array[
            case when new.amend_reason is distinct from old.amend_reason then 'amend_reason' end,
            case when new.assessment is distinct from old.assessment then 'assessment' end,
            case when new.author_id is distinct from old.author_id then 'author_id' end,
            case when new.created_at is distinct from old.created_at then 'created_at' end,
            case when new.encounter_id is distinct from old.encounter_id then 'encounter_id' end,
            case when new.extra_sections is distinct from old.extra_sections then 'extra_sections' end,
            case when new.id is distinct from old.id then 'id' end,
            case when new.objective is distinct from old.objective then 'objective' end,
            case when new.plan is distinct from old.plan then 'plan' end,
            case when new.signed_at is distinct from old.signed_at then 'signed_at' end,
            case when new.status is distinct from old.status then 'status' end,
            case when new.subjective is distinct from old.subjective then 'subjective' end,
            case when new.tenant_id is distinct from old.tenant_id then 'tenant_id' end,
            case when new.version is distinct from old.version then 'version' end], null)
         where record_image_ne(new, old);
        return null;
      end if;
    elsif tg_table_name = 'users' then
      if public.audited_as('public.users',
        'created_at timestamptz, email text, full_name text, id uuid, role text, status text, '
        'tenant_id uuid, updated_at timestamptz')
      then
        insert into public.audit_events
          (tenant_id, id, action, table_name, row_id, actor_id, system_actor, txid, changed_columns)
        select new.tenant_id, new.id, 'update', 'users', new.id, nullif(current_setting('app.user_id', true), '')::uuid, system,
          txid_current(), array_remove(array[
            case when new.created_at is distinct from old.created_at then 'created_at' end,
            case when new.email is distinct from old.email then 'email' end,
            case when new.full_name is distinct from old.full_name then 'full_name' end,
            case when new.id is distinct from old.id then 'id' end,
            case when new.role is distinct from old.role then 'role' end,
            case when new.status is distinct from old.status then 'status' end,
            case when new.tenant_id is distinct from old.tenant_id then 'tenant_id' end], null)
         where record_image_ne(new, old);
        return null;
      end if;
    end if;
  elsif tg_op = 'INSERT' and tg_nargs = 2 and tg_argv[0] = 'id' then
    insert into public.audit_events (tenant_id, id, action, table_name, row_id, actor_id, system_actor, txid)
    values (new.tenant_id, new.id, 'insert', tg_table_name, new.id, nullif(current_setting('app.user_id', true), '')::uuid, system,
            txid_current());
    return null;
  end if;

  if tg_op = 'UPDATE' then
    changed := array(
      select a.key
        from jsonb_each(to_jsonb(new)) a, to_jsonb(old) b
       where a.key <> 'updated_at' and a.value is distinct from b -> a.key
       order by a.key collate "C");
    if changed = '{}' then
      return null;
    end if;
  end if;
  -- The first argument of the trigger names the column that is the row's id.
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
  if tg_nargs > 2 and tg_op <> 'DELETE' then
    -- Further arguments opt columns in: a digest tells that two values are the same, never what they are.
    bytes_as := current_setting('bytea_output');
    perform set_config('bytea_output', 'hex', true);
    foreach chosen in array tg_argv[2:] loop
      if tg_op = 'INSERT' or chosen = any (changed) then
        digests := coalesce(digests, '{}') || jsonb_build_object(chosen, public.audit_digest(clinic,
          tg_table_name || '.' || chosen || ':' || (to_jsonb(new) ->> chosen)));
      end if;
    end loop;
    perform set_config('bytea_output', bytes_as, true);
  end if;
  insert into public.audit_events (tenant_id, action, table_name, row_id, changed_columns, system_actor, digests)
  values (clinic, lower(tg_op), tg_table_name, affected, changed, system, digests);
  return null;
end
$body$;
comment on function public.record_audit_event() is
  'Trigger, for each row: writes one audit event. Arguments: the column that holds the row''s id; ''actor'' where a user is required, or ''any''; columns of which the event carries a digest.';

create function public.record_export(resources text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  actor constant text := nullif(current_setting('app.user_id', true), '');
  system text;
begin
  if actor is null then
    -- Patient data has an author. A login of the product names its user; only who may act as the owner of
    -- the tables (seeds, migrations, repairs) writes without one, and is recorded under a name all the same.
    if pg_has_role(session_user, 'kine_owner', 'MEMBER') then
      system := coalesce(nullif(current_setting('app.system_actor', true), ''), 'unnamed');
    elsif true then
      raise exception 'an export is recorded for a user, and app.user_id is not set'
        using errcode = 'invalid_parameter_value',
              hint = 'select set_config(''app.user_id'', ''<user id>'', true) in the same transaction';
    end if;
  end if;
  insert into public.audit_events (tenant_id, action, table_name, actor_id, system_actor)
  select current_setting('app.tenant_id')::uuid, 'export', r.resource, actor::uuid, system
    from unnest(resources) as r (resource);
end
$body$;
alter function public.record_export(text[]) owner to kine_audit;
revoke all on function public.record_export(text[]) from public;
comment on function public.record_export(text[]) is
  'Records that the session''s own clinic was exported: one event for each table.';

-- The triggers that fill the trail fire always, also for a session in a replication role.
create or replace trigger record_audit_event after insert on public.note_versions
  for each row execute function public.record_audit_event('note_id', 'actor', 'hash');
alter table public.note_versions enable always trigger record_audit_event;
set local role kine_owner;
create or replace trigger record_audit_event after insert or update or delete on public.tenants
  for each row execute function public.record_audit_event('tenant_id', 'any');
alter table public.tenants enable always trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.users
  for each row execute function public.record_audit_event('id', 'any');
alter table public.users enable always trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.patients
  for each row execute function public.record_audit_event('id', 'actor');
alter table public.patients enable always trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.appointments
  for each row execute function public.record_audit_event('id', 'actor');
alter table public.appointments enable always trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.encounters
  for each row execute function public.record_audit_event('id', 'actor');
alter table public.encounters enable always trigger record_audit_event;
create or replace trigger record_audit_event after insert or update or delete on public.notes
  for each row execute function public.record_audit_event('id', 'actor');
alter table public.notes enable always trigger record_audit_event;
alter table public.notes enable always trigger record_first_version;
alter table public.notes enable always trigger record_next_version;
reset role;

-- Class immutable: written once, by a trigger, then neither changed nor removed by anybody. The table
-- belongs to kine_audit; the guards fire always, also for a replication role. Isolated like tenant_scoped.
alter table public.audit_keys enable row level security;
alter table public.audit_keys force row level security;

drop policy if exists tenant_isolation on public.audit_keys;
create policy tenant_isolation on public.audit_keys
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.audit_keys from public, kine_app, kine_auditor, kine_backup;
grant select on table public.audit_keys to kine_backup;

create or replace trigger worm_row before update or delete on public.audit_keys
  for each row execute function public.refuse_change();
create or replace trigger worm_statement before update or delete or truncate on public.audit_keys
  for each statement execute function public.refuse_change();
alter table public.audit_keys enable always trigger worm_row;
alter table public.audit_keys enable always trigger worm_statement;

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

grant select on public.api_audit_events to kine_auditor;
grant execute on function public.record_export(text[]) to kine_app, kine_auditor;

do $member$
begin
  if nullif(pg_catalog.current_setting('kine.joined_audit', true), '') is not null then
    execute format('revoke kine_audit from %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', '', true);
  end if;
end
$member$;
