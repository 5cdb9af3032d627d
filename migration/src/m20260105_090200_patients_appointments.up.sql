-- The people whom a clinic treats, and its calendar.
set local role kine_owner;

create table public.patients (
  tenant_id uuid not null default current_setting('app.tenant_id')::uuid,
  id uuid not null default gen_random_uuid(),
  mrn text not null,
  given_name text not null,
  family_name text not null,
  preferred_name text,
  birth_date date not null,
  sex text not null default 'unknown',
  language text not null default 'en',
  phone text,
  email text,
  address text,
  health_insurance_number text,
  primary_practitioner_id uuid,
  portal_user_id uuid,
  archived_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint patients_pkey primary key (tenant_id, id),
  constraint patients_tenant_fkey foreign key (tenant_id) references public.tenants (tenant_id),
  constraint patients_primary_practitioner_fkey
    foreign key (tenant_id, primary_practitioner_id) references public.users (tenant_id, id),
  constraint patients_portal_user_fkey
    foreign key (tenant_id, portal_user_id) references public.users (tenant_id, id),
  constraint patients_mrn_key unique (tenant_id, mrn),
  constraint patients_portal_user_key unique (tenant_id, portal_user_id),
  constraint patients_mrn_check check (length(mrn) between 1 and 64),
  constraint patients_given_name_check check (length(given_name) between 1 and 100),
  constraint patients_family_name_check check (length(family_name) between 1 and 100),
  constraint patients_birth_date_check check (birth_date >= '1850-01-01'),
  constraint patients_sex_check check (sex in ('female', 'male', 'other', 'unknown')),
  constraint patients_language_check check (language in ('en', 'fr'))
);
comment on table public.patients is 'Patients of a clinic. Archived, never deleted by the application.';
comment on column public.patients.tenant_id is 'The clinic.';
comment on column public.patients.id is 'The patient within the clinic.';
comment on column public.patients.mrn is 'Medical record number; unique within the clinic.';
comment on column public.patients.given_name is 'Given names.';
comment on column public.patients.family_name is 'Family name.';
comment on column public.patients.preferred_name is 'What the patient wishes to be called, where it differs.';
comment on column public.patients.birth_date is 'Date of birth.';
comment on column public.patients.sex is 'Administrative sex: female, male, other or unknown (HL7 administrative gender).';
comment on column public.patients.language is 'Language for letters and reminders: en or fr.';
comment on column public.patients.phone is 'Telephone number as given.';
comment on column public.patients.email is 'Address for reminders; not a sign-in.';
comment on column public.patients.address is 'Postal address as written on a letter.';
comment on column public.patients.health_insurance_number is 'Provincial health insurance number as printed on the card.';
comment on column public.patients.primary_practitioner_id is 'The practitioner who follows the patient, if one does.';
comment on column public.patients.portal_user_id is 'The user with role patient through whom the patient signs in, if any.';
comment on column public.patients.archived_at is 'Since when the patient is no longer followed; null while active.';
comment on column public.patients.created_at is 'When the row was made.';
comment on column public.patients.updated_at is 'When the row last changed; kept by trigger.';

create index patients_by_name on public.patients (tenant_id, lower(family_name), lower(given_name)) where archived_at is null;
create index patients_by_birth_date on public.patients (tenant_id, birth_date);
create index patients_by_health_insurance_number on public.patients (tenant_id, health_insurance_number)
  where health_insurance_number is not null;
create index patients_by_primary_practitioner on public.patients (tenant_id, primary_practitioner_id);

create table public.appointments (
  tenant_id uuid not null default current_setting('app.tenant_id')::uuid,
  id uuid not null default gen_random_uuid(),
  patient_id uuid not null,
  practitioner_id uuid not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  kind text not null default 'consultation',
  status text not null default 'booked',
  reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint appointments_pkey primary key (tenant_id, id),
  constraint appointments_patient_fkey
    foreign key (tenant_id, patient_id) references public.patients (tenant_id, id),
  constraint appointments_practitioner_fkey
    foreign key (tenant_id, practitioner_id) references public.users (tenant_id, id),
  constraint appointments_time_check check (ends_at > starts_at),
  constraint appointments_kind_check
    check (kind in ('consultation', 'follow_up', 'procedure', 'urgent', 'telehealth', 'phone')),
  constraint appointments_status_check
    check (status in ('booked', 'confirmed', 'arrived', 'completed', 'cancelled', 'no_show')),
  constraint appointments_practitioner_booked_once
    exclude using gist (tenant_id with =, practitioner_id with =, tstzrange(starts_at, ends_at) with &&)
    where (status not in ('cancelled', 'no_show'))
);
comment on table public.appointments is 'The calendar. A practitioner cannot be booked twice at one time.';
comment on column public.appointments.tenant_id is 'The clinic.';
comment on column public.appointments.id is 'The appointment within the clinic.';
comment on column public.appointments.patient_id is 'Who comes.';
comment on column public.appointments.practitioner_id is 'Whom the patient sees.';
comment on column public.appointments.starts_at is 'Begin, inclusive.';
comment on column public.appointments.ends_at is 'End, exclusive: the next appointment may start here.';
comment on column public.appointments.kind is 'consultation, follow_up, procedure, urgent, telehealth or phone.';
comment on column public.appointments.status is 'booked, confirmed, arrived, completed, cancelled or no_show; the last two free the time.';
comment on column public.appointments.reason is 'Why the patient comes, in few words.';
comment on column public.appointments.created_at is 'When the row was made.';
comment on column public.appointments.updated_at is 'When the row last changed; kept by trigger.';

create index appointments_by_time on public.appointments (tenant_id, starts_at);
create index appointments_by_practitioner on public.appointments (tenant_id, practitioner_id, starts_at);
create index appointments_by_patient on public.appointments (tenant_id, patient_id, starts_at);

create trigger touch_updated_at before update on public.patients
  for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create trigger touch_updated_at before update on public.appointments
  for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();

-- Class tenant_scoped: rows of one tenant, read and written only in that tenant's context.
alter table public.patients enable row level security;
alter table public.patients force row level security;

drop policy if exists tenant_isolation on public.patients;
create policy tenant_isolation on public.patients
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.patients from public, kine_app, kine_auditor, kine_backup;
grant select on table public.patients to kine_backup;

drop view if exists public.api_patients;
create view public.api_patients
  with (security_invoker = true, security_barrier = true) as
select
  id,
  mrn,
  given_name,
  family_name,
  preferred_name,
  birth_date,
  sex,
  language,
  phone,
  email,
  address,
  health_insurance_number,
  primary_practitioner_id,
  portal_user_id,
  archived_at,
  created_at,
  updated_at
from public.patients;
alter view public.api_patients owner to kine_owner;

grant select on public.patients to kine_app;
grant insert (tenant_id, id, mrn, given_name, family_name, preferred_name, birth_date, sex, language, phone, email, address, health_insurance_number, primary_practitioner_id, portal_user_id, archived_at)
  on public.patients to kine_app;
grant update (mrn, given_name, family_name, preferred_name, birth_date, sex, language, phone, email, address, health_insurance_number, primary_practitioner_id, portal_user_id, archived_at)
  on public.patients to kine_app;
grant select, insert, update on public.api_patients to kine_app;

-- Class tenant_scoped: rows of one tenant, read and written only in that tenant's context.
alter table public.appointments enable row level security;
alter table public.appointments force row level security;

drop policy if exists tenant_isolation on public.appointments;
create policy tenant_isolation on public.appointments
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.appointments from public, kine_app, kine_auditor, kine_backup;
grant select on table public.appointments to kine_backup;

drop view if exists public.api_appointments;
create view public.api_appointments
  with (security_invoker = true, security_barrier = true) as
select
  id,
  patient_id,
  practitioner_id,
  starts_at,
  ends_at,
  kind,
  status,
  reason,
  created_at,
  updated_at
from public.appointments;
alter view public.api_appointments owner to kine_owner;

grant select, delete on public.appointments to kine_app;
grant insert (tenant_id, id, patient_id, practitioner_id, starts_at, ends_at, kind, status, reason)
  on public.appointments to kine_app;
grant update (patient_id, practitioner_id, starts_at, ends_at, kind, status, reason)
  on public.appointments to kine_app;
grant select, insert, update, delete on public.api_appointments to kine_app;

reset role;
