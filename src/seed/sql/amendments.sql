update public.notes n
   set status = 'amended',
       amend_reason = r.reason,
       subjective = coalesce(r.subjective, n.subjective),
       objective = coalesce(r.objective, n.objective),
       assessment = coalesce(r.assessment, n.assessment),
       plan = coalesce(r.plan, n.plan)
  from pg_catalog.jsonb_to_recordset($2) as r (
    id uuid,
    reason text,
    subjective text,
    objective text,
    assessment text,
    plan text
  )
 where n.tenant_id = $1 and n.id = r.id
returning n.id
