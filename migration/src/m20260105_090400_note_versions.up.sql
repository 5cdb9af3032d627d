-- Every text that a note ever had, chained per note, written once.
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

alter default privileges for role kine_audit revoke execute on functions from public;

create table public.note_versions (
  tenant_id uuid not null,
  note_id uuid not null,
  version integer not null,
  status text not null,
  author_id uuid not null,
  subjective text not null,
  objective text not null,
  assessment text not null,
  plan text not null,
  extra_sections jsonb not null,
  reason text,
  recorded_at timestamptz not null default clock_timestamp(),
  prev_hash bytea,
  hash bytea not null,
  constraint note_versions_pkey primary key (tenant_id, note_id, version),
  constraint note_versions_note_fkey
    foreign key (tenant_id, note_id) references public.notes (tenant_id, id),
  constraint note_versions_author_fkey
    foreign key (tenant_id, author_id) references public.users (tenant_id, id),
  constraint note_versions_status_check check (status in ('draft', 'signed', 'amended')),
  constraint note_versions_reason_check check ((status = 'amended') = (reason is not null)),
  constraint note_versions_chain_check check ((version = 1) = (prev_hash is null)),
  constraint note_versions_hash_check check (length(hash) = 32 and length(prev_hash) = 32)
);
alter table public.note_versions owner to kine_audit;
comment on table public.note_versions is 'Every version of every note, whole. Written by trigger, never changed or removed by anybody.';
comment on column public.note_versions.tenant_id is 'The clinic.';
comment on column public.note_versions.note_id is 'The note.';
comment on column public.note_versions.version is 'Number of the version, from 1 without gaps.';
comment on column public.note_versions.status is 'Status that the note had with this version.';
comment on column public.note_versions.author_id is 'Who wrote this version: the user of the session, or the note''s author where no user was set.';
comment on column public.note_versions.subjective is 'Text of the section in this version.';
comment on column public.note_versions.objective is 'Text of the section in this version.';
comment on column public.note_versions.assessment is 'Text of the section in this version.';
comment on column public.note_versions.plan is 'Text of the section in this version.';
comment on column public.note_versions.extra_sections is 'The clinic''s own sections in this version.';
comment on column public.note_versions.reason is 'Why a signed note was amended.';
comment on column public.note_versions.recorded_at is 'When the version was written.';
comment on column public.note_versions.prev_hash is 'Hash of the version before; null for the first.';
comment on column public.note_versions.hash is 'SHA-256 over prev_hash and this version: see note_version_hash.';

create index note_versions_by_author on public.note_versions (tenant_id, author_id, recorded_at);

create function public.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $body$
begin
  raise exception 'table "%" is written once: % is refused', tg_table_name, lower(tg_op)
    using errcode = 'insufficient_privilege', schema = tg_table_schema, table = tg_table_name;
end
$body$;
alter function public.refuse_change() owner to kine_audit;
revoke all on function public.refuse_change() from public;
comment on function public.refuse_change() is 'Trigger: refuses update, delete and truncate, whoever asks.';

-- Text that two readers can agree on: a JSON array of the columns in their order, times as microseconds
-- since 1970, behind the raw bytes of the hash before.
create function public.note_version_hash(v public.note_versions) returns bytea
language sql immutable
set search_path = pg_catalog, pg_temp
as $body$
  select sha256(coalesce(v.prev_hash, ''::bytea) || convert_to(
    jsonb_build_array(
      v.tenant_id::text, v.note_id::text, v.version, v.status, v.author_id::text,
      v.subjective, v.objective, v.assessment, v.plan, v.extra_sections, v.reason,
      (extract(epoch from v.recorded_at) * 1000000)::bigint
    )::text, 'UTF8'))
$body$;
alter function public.note_version_hash(public.note_versions) owner to kine_audit;
revoke all on function public.note_version_hash(public.note_versions) from public;
comment on function public.note_version_hash(public.note_versions) is
  'The hash that a version must have, given its own prev_hash; a chain holds if every stored hash equals it and every prev_hash is the hash before.';

create function public.record_note_version() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  fresh public.note_versions;
begin
  -- kine_audit is bound by the policy on note_versions like everybody else, so the version before
  -- can only be read in the clinic's own context; better to say so than to fail on a setting.
  if current_setting('app.tenant_id', true) is distinct from new.tenant_id::text then
    raise exception 'notes are written in the context of their clinic only'
      using errcode = 'insufficient_privilege', schema = tg_table_schema, table = tg_table_name,
            hint = 'select set_config(''app.tenant_id'', ''<tenant id>'', true) first';
  end if;

  fresh.tenant_id := new.tenant_id;
  fresh.note_id := new.id;
  fresh.version := new.version;
  fresh.status := new.status;
  fresh.author_id := coalesce(nullif(current_setting('app.user_id', true), '')::uuid, new.author_id);
  fresh.subjective := new.subjective;
  fresh.objective := new.objective;
  fresh.assessment := new.assessment;
  fresh.plan := new.plan;
  fresh.extra_sections := new.extra_sections;
  fresh.reason := new.amend_reason;
  fresh.recorded_at := clock_timestamp();
  if new.version > 1 then
    select p.hash into strict fresh.prev_hash
      from public.note_versions p
     where p.tenant_id = new.tenant_id and p.note_id = new.id and p.version = new.version - 1;
  end if;
  fresh.hash := public.note_version_hash(fresh);
  insert into public.note_versions values (fresh.*);
  return null;
end
$body$;
alter function public.record_note_version() owner to kine_audit;
revoke all on function public.record_note_version() from public;
comment on function public.record_note_version() is
  'Trigger on notes: writes the version that has just come into being and chains it to the one before.';

-- Versions number themselves on notes; here nothing is left to chance of timing: the row lock on the note
-- serialises its versions.
create trigger record_first_version after insert on public.notes
  for each row execute function public.record_note_version();
create trigger record_next_version after update on public.notes
  for each row when (old.version is distinct from new.version) execute function public.record_note_version();

-- Class immutable: written once, by a trigger, then neither changed nor removed by anybody. The table
-- belongs to kine_audit; the guards fire always, also for a replication role. Isolated like tenant_scoped.
alter table public.note_versions enable row level security;
alter table public.note_versions force row level security;

drop policy if exists tenant_isolation on public.note_versions;
create policy tenant_isolation on public.note_versions
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.note_versions from public, kine_app, kine_auditor, kine_backup;
grant select on table public.note_versions to kine_backup;

create or replace trigger worm_row before update or delete on public.note_versions
  for each row execute function public.refuse_change();
create or replace trigger worm_statement before update or delete or truncate on public.note_versions
  for each statement execute function public.refuse_change();
alter table public.note_versions enable always trigger worm_row;
alter table public.note_versions enable always trigger worm_statement;

drop view if exists public.api_note_versions;
create view public.api_note_versions
  with (security_invoker = true, security_barrier = true) as
select
  note_id,
  version,
  status,
  author_id,
  subjective,
  objective,
  assessment,
  plan,
  extra_sections,
  reason,
  recorded_at,
  prev_hash,
  hash
from public.note_versions;
alter view public.api_note_versions owner to kine_owner;

grant select on public.note_versions to kine_app;
grant select on public.api_note_versions to kine_app;
grant execute on function public.note_version_hash(public.note_versions) to kine_app;

do $member$
begin
  if nullif(pg_catalog.current_setting('kine.joined_audit', true), '') is not null then
    execute format('revoke kine_audit from %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', '', true);
  end if;
end
$member$;
