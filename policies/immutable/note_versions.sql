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
