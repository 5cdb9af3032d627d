-- Clinics and the people who sign in to them.
set local role kine_owner;

create function public.touch_updated_at() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $body$
begin
  new.updated_at := now();
  return new;
end
$body$;
comment on function public.touch_updated_at() is
  'Trigger: keeps updated_at at the time of the transaction that last changed the row.';

create table public.tenants (
  tenant_id uuid not null,
  slug text not null,
  name text not null,
  status text not null default 'active',
  time_zone text not null default 'America/Toronto',
  locale text not null default 'en-CA',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint tenants_pkey primary key (tenant_id),
  -- kinedb: allow unique-tenant: a slug is part of an address, and addresses are global; only the owner writes it
  constraint tenants_slug_key unique (slug),
  constraint tenants_slug_check check (slug ~ '^[a-z0-9-]{1,63}$'),
  constraint tenants_name_check check (length(name) between 1 and 200),
  constraint tenants_status_check check (status in ('active', 'suspended')),
  constraint tenants_time_zone_check check (length(time_zone) between 1 and 64),
  constraint tenants_locale_check check (locale in ('en-CA', 'fr-CA'))
);
comment on table public.tenants is 'Clinics. A clinic sees its own row only.';
comment on column public.tenants.tenant_id is 'The clinic. Chosen before the insert, which happens in the context of this very id.';
comment on column public.tenants.slug is 'Name in addresses: lower-case letters, digits, hyphens. Unique over all clinics, so only the owner writes it.';
comment on column public.tenants.name is 'Name of the clinic as people read it.';
comment on column public.tenants.status is 'active or suspended.';
comment on column public.tenants.time_zone is 'IANA time zone in which the clinic keeps its calendar.';
comment on column public.tenants.locale is 'Language and region of the clinic''s texts: en-CA or fr-CA.';
comment on column public.tenants.created_at is 'When the row was made.';
comment on column public.tenants.updated_at is 'When the row last changed; kept by trigger.';

create table public.users (
  tenant_id uuid not null default current_setting('app.tenant_id')::uuid,
  id uuid not null default gen_random_uuid(),
  email text not null,
  full_name text not null,
  role text not null,
  status text not null default 'active',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint users_pkey primary key (tenant_id, id),
  constraint users_tenant_fkey foreign key (tenant_id) references public.tenants (tenant_id),
  constraint users_email_key unique (tenant_id, email),
  constraint users_email_check check (email = lower(email) and length(email) between 3 and 254),
  constraint users_full_name_check check (length(full_name) between 1 and 200),
  constraint users_role_check check (role in ('admin', 'practitioner', 'receptionist', 'billing', 'patient')),
  constraint users_status_check check (status in ('invited', 'active', 'disabled'))
);
comment on table public.users is 'People who sign in to a clinic. One person in two clinics is two users.';
comment on column public.users.tenant_id is 'The clinic.';
comment on column public.users.id is 'The user within the clinic; app.user_id of a session.';
comment on column public.users.email is 'Address for signing in, in lower case; unique within the clinic.';
comment on column public.users.full_name is 'Name as colleagues read it.';
comment on column public.users.role is 'admin, practitioner, receptionist, billing or patient (the portal).';
comment on column public.users.status is 'invited, active or disabled. A user is disabled, never deleted: notes and audit events name it.';
comment on column public.users.created_at is 'When the row was made.';
comment on column public.users.updated_at is 'When the row last changed; kept by trigger.';

create index users_by_role on public.users (tenant_id, role, status);

create trigger touch_updated_at before update on public.tenants
  for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create trigger touch_updated_at before update on public.users
  for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();

-- Class tenant_root: one row per tenant, and that row is the tenant. A new tenant is inserted in its own
-- context by the owner; the application sees its own clinic and no other.
alter table public.tenants enable row level security;
alter table public.tenants force row level security;

drop policy if exists tenant_isolation on public.tenants;
create policy tenant_isolation on public.tenants
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.tenants from public, kine_app, kine_auditor, kine_backup;
grant select on table public.tenants to kine_backup;

drop view if exists public.api_tenants;
create view public.api_tenants
  with (security_invoker = true, security_barrier = true) as
select
  tenant_id,
  slug,
  name,
  status,
  time_zone,
  locale,
  created_at,
  updated_at
from public.tenants;
alter view public.api_tenants owner to kine_owner;

grant select on public.tenants to kine_app;
grant update (name, time_zone, locale) on public.tenants to kine_app;
grant select, update on public.api_tenants to kine_app;

-- Class tenant_scoped: rows of one tenant, read and written only in that tenant's context.
alter table public.users enable row level security;
alter table public.users force row level security;

drop policy if exists tenant_isolation on public.users;
create policy tenant_isolation on public.users
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.users from public, kine_app, kine_auditor, kine_backup;
grant select on table public.users to kine_backup;

drop view if exists public.api_users;
create view public.api_users
  with (security_invoker = true, security_barrier = true) as
select
  id,
  email,
  full_name,
  role,
  status,
  created_at,
  updated_at
from public.users;
alter view public.api_users owner to kine_owner;

grant select on public.users to kine_app;
grant insert (tenant_id, id, email, full_name, role, status) on public.users to kine_app;
grant update (email, full_name, role, status) on public.users to kine_app;
grant select, insert, update on public.api_users to kine_app;

reset role;
