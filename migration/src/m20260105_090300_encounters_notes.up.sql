-- What happened at the clinic, and what was written about it.
set local role kine_owner;

create table public.encounters (
  tenant_id uuid not null default current_setting('app.tenant_id')::uuid,
  id uuid not null default gen_random_uuid(),
  patient_id uuid not null,
  practitioner_id uuid not null,
  appointment_id uuid,
  kind text not null default 'in_person',
  started_at timestamptz not null default now(),
  ended_at timestamptz,
  status text not null default 'in_progress',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint encounters_pkey primary key (tenant_id, id),
  constraint encounters_patient_fkey
    foreign key (tenant_id, patient_id) references public.patients (tenant_id, id),
  constraint encounters_practitioner_fkey
    foreign key (tenant_id, practitioner_id) references public.users (tenant_id, id),
  constraint encounters_appointment_fkey
    foreign key (tenant_id, appointment_id) references public.appointments (tenant_id, id),
  constraint encounters_appointment_key unique (tenant_id, appointment_id),
  constraint encounters_kind_check check (kind in ('in_person', 'telehealth', 'phone')),
  constraint encounters_status_check check (status in ('in_progress', 'completed', 'cancelled')),
  constraint encounters_time_check check (ended_at >= started_at)
);
comment on table public.encounters is 'Meetings of a patient and a practitioner that took place, booked or not.';
comment on column public.encounters.tenant_id is 'The clinic.';
comment on column public.encounters.id is 'The encounter within the clinic.';
comment on column public.encounters.patient_id is 'Who was seen.';
comment on column public.encounters.practitioner_id is 'Who saw the patient.';
comment on column public.encounters.appointment_id is 'The appointment it came from; null for a walk-in. One encounter per appointment.';
comment on column public.encounters.kind is 'in_person, telehealth or phone.';
comment on column public.encounters.started_at is 'When it began.';
comment on column public.encounters.ended_at is 'When it ended; null while it lasts.';
comment on column public.encounters.status is 'in_progress, completed or cancelled.';
comment on column public.encounters.created_at is 'When the row was made.';
comment on column public.encounters.updated_at is 'When the row last changed; kept by trigger.';

create index encounters_by_patient on public.encounters (tenant_id, patient_id, started_at);
create index encounters_by_practitioner on public.encounters (tenant_id, practitioner_id, started_at);

create table public.notes (
  tenant_id uuid not null default current_setting('app.tenant_id')::uuid,
  id uuid not null default gen_random_uuid(),
  encounter_id uuid not null,
  author_id uuid not null,
  subjective text not null default '',
  objective text not null default '',
  assessment text not null default '',
  plan text not null default '',
  extra_sections jsonb not null default '[]',
  status text not null default 'draft',
  version integer not null default 1,
  signed_at timestamptz,
  amend_reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint notes_pkey primary key (tenant_id, id),
  constraint notes_encounter_fkey
    foreign key (tenant_id, encounter_id) references public.encounters (tenant_id, id),
  constraint notes_author_fkey
    foreign key (tenant_id, author_id) references public.users (tenant_id, id),
  constraint notes_extra_sections_check check (jsonb_typeof(extra_sections) = 'array'),
  constraint notes_status_check check (status in ('draft', 'signed', 'amended')),
  constraint notes_version_check check (version >= 1),
  constraint notes_signed_at_check check ((status = 'draft') = (signed_at is null)),
  constraint notes_amend_reason_check
    check ((status = 'amended') = (amend_reason is not null) and amend_reason <> '')
);
comment on table public.notes is 'Clinical notes in SOAP form. Once signed, the text changes only by an amendment with a reason.';
comment on column public.notes.tenant_id is 'The clinic.';
comment on column public.notes.id is 'The note within the clinic.';
comment on column public.notes.encounter_id is 'The encounter that the note tells of.';
comment on column public.notes.author_id is 'Who is responsible for the note.';
comment on column public.notes.subjective is 'What the patient tells.';
comment on column public.notes.objective is 'What is seen and measured.';
comment on column public.notes.assessment is 'What the author takes it for.';
comment on column public.notes.plan is 'What is to be done.';
comment on column public.notes.extra_sections is 'Sections that the clinic defines, in order: [{"title": "...", "text": "..."}].';
comment on column public.notes.status is 'draft, signed or amended (signed, then corrected).';
comment on column public.notes.version is 'Grows with every change of text or status; kept by trigger; matches note_versions.';
comment on column public.notes.signed_at is 'When the note was first signed; kept by trigger.';
comment on column public.notes.amend_reason is 'Reason of the latest amendment; each amendment sets its own.';
comment on column public.notes.created_at is 'When the row was made.';
comment on column public.notes.updated_at is 'When the row last changed; kept by trigger.';

create index notes_by_encounter on public.notes (tenant_id, encounter_id);
create index notes_by_author on public.notes (tenant_id, author_id, status);

create function public.guard_note() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $body$
declare
  text_changed boolean;
begin
  if tg_op = 'INSERT' then
    if new.status = 'amended' then
      raise exception 'a note is not amended before it is signed'
        using errcode = 'check_violation', constraint = 'notes_amended_after_signed',
              schema = tg_table_schema, table = tg_table_name;
    end if;
    new.version := 1;
    if new.status = 'signed' then
      new.signed_at := coalesce(new.signed_at, now());
    end if;
    return new;
  end if;

  text_changed :=
    (new.subjective, new.objective, new.assessment, new.plan, new.extra_sections)
    is distinct from
    (old.subjective, old.objective, old.assessment, old.plan, old.extra_sections);

  if old.status <> 'draft' then
    if new.encounter_id <> old.encounter_id or new.author_id <> old.author_id then
      raise exception 'a signed note keeps its encounter and its author'
        using errcode = 'check_violation', constraint = 'notes_signed_stays',
              schema = tg_table_schema, table = tg_table_name;
    end if;
    if new.status = 'draft' or (new.status = 'signed' and old.status = 'amended') then
      raise exception 'a note that is % does not become % again', old.status, new.status
        using errcode = 'check_violation', constraint = 'notes_status_forward',
              schema = tg_table_schema, table = tg_table_name;
    end if;
    if text_changed
       and (new.status <> 'amended' or new.amend_reason is not distinct from old.amend_reason) then
      raise exception 'the text of a signed note changes only by an amendment with a reason of its own'
        using errcode = 'check_violation', constraint = 'notes_signed_text',
              schema = tg_table_schema, table = tg_table_name,
              hint = 'set status to amended and amend_reason to why, in the same statement';
    end if;
    if not text_changed
       and (new.status <> old.status or new.amend_reason is distinct from old.amend_reason) then
      raise exception 'an amendment changes the text of the note'
        using errcode = 'check_violation', constraint = 'notes_amendment_has_text',
              schema = tg_table_schema, table = tg_table_name;
    end if;
    new.signed_at := old.signed_at;
  elsif new.status = 'amended' then
    raise exception 'a note is not amended before it is signed'
      using errcode = 'check_violation', constraint = 'notes_amended_after_signed',
            schema = tg_table_schema, table = tg_table_name;
  else
    new.signed_at := case when new.status = 'signed' then now() end;
  end if;

  new.version := old.version + (text_changed or new.status <> old.status)::int;
  return new;
end
$body$;
comment on function public.guard_note() is
  'Trigger: the life of a note, draft to signed to amended, and its version number.';

create trigger guard_note before insert or update on public.notes
  for each row execute function public.guard_note();
create trigger touch_updated_at before update on public.encounters
  for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create trigger touch_updated_at before update on public.notes
  for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();

-- Class tenant_scoped: rows of one tenant, read and written only in that tenant's context.
alter table public.encounters enable row level security;
alter table public.encounters force row level security;

drop policy if exists tenant_isolation on public.encounters;
create policy tenant_isolation on public.encounters
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.encounters from public, kine_app, kine_auditor, kine_backup;
grant select on table public.encounters to kine_backup;

drop view if exists public.api_encounters;
create view public.api_encounters
  with (security_invoker = true, security_barrier = true) as
select
  id,
  patient_id,
  practitioner_id,
  appointment_id,
  kind,
  started_at,
  ended_at,
  status,
  created_at,
  updated_at
from public.encounters;
alter view public.api_encounters owner to kine_owner;

grant select on public.encounters to kine_app;
grant insert (tenant_id, id, patient_id, practitioner_id, appointment_id, kind, started_at, ended_at, status)
  on public.encounters to kine_app;
grant update (patient_id, practitioner_id, appointment_id, kind, started_at, ended_at, status)
  on public.encounters to kine_app;
grant select, insert, update on public.api_encounters to kine_app;

-- Class tenant_scoped: rows of one tenant, read and written only in that tenant's context.
alter table public.notes enable row level security;
alter table public.notes force row level security;

drop policy if exists tenant_isolation on public.notes;
create policy tenant_isolation on public.notes
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.notes from public, kine_app, kine_auditor, kine_backup;
grant select on table public.notes to kine_backup;

drop view if exists public.api_notes;
create view public.api_notes
  with (security_invoker = true, security_barrier = true) as
select
  id,
  encounter_id,
  author_id,
  subjective,
  objective,
  assessment,
  plan,
  extra_sections,
  status,
  version,
  signed_at,
  amend_reason,
  created_at,
  updated_at
from public.notes;
alter view public.api_notes owner to kine_owner;

grant select on public.notes to kine_app;
grant insert (tenant_id, id, encounter_id, author_id, subjective, objective, assessment, plan, extra_sections, status)
  on public.notes to kine_app;
grant update (encounter_id, author_id, subjective, objective, assessment, plan, extra_sections, status, amend_reason)
  on public.notes to kine_app;
grant select, insert, update on public.api_notes to kine_app;

reset role;
