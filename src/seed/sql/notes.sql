insert into public.notes (tenant_id, id, encounter_id, author_id, subjective, objective, assessment, plan, extra_sections, status)
select $1, r.id, r.encounter_id, r.author_id, r.subjective, r.objective, r.assessment, r.plan, r.extra_sections, r.status
  from pg_catalog.jsonb_to_recordset($2) as r (
    id uuid,
    encounter_id uuid,
    author_id uuid,
    subjective text,
    objective text,
    assessment text,
    plan text,
    extra_sections jsonb,
    status text
  )
on conflict (tenant_id, id) do nothing
returning id
