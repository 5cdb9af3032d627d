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
