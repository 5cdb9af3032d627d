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
