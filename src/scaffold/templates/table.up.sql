-- {message}
set local role kine_owner;

create table public.{table} (
  tenant_id uuid not null default current_setting('app.tenant_id')::uuid,
  id uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint {table}_pkey primary key (tenant_id, id),
  constraint {table}_tenant_fkey foreign key (tenant_id) references public.tenants (tenant_id)
);
comment on table public.{table} is '{table} of a clinic.';
comment on column public.{table}.tenant_id is 'The clinic.';
comment on column public.{table}.id is 'Unique within the clinic.';
comment on column public.{table}.created_at is 'When the row was made.';
comment on column public.{table}.updated_at is 'When the row last changed; kept by trigger.';

create trigger touch_updated_at before update on public.{table}
  for each row execute function public.touch_updated_at();
create trigger record_audit_event after insert or update or delete on public.{table}
  for each row execute function public.record_audit_event('id');

-- Frozen copy of policies/: the class, then the table's view and grants.
{policies}
