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
