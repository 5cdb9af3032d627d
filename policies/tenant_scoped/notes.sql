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
