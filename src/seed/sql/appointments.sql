insert into public.appointments (tenant_id, id, patient_id, practitioner_id, starts_at, ends_at, kind, status, reason)
select $1, r.id, r.patient_id, r.practitioner_id, r.starts_at, r.ends_at, r.kind, r.status, r.reason
  from pg_catalog.jsonb_to_recordset($2) as r (
    id uuid,
    patient_id uuid,
    practitioner_id uuid,
    starts_at timestamptz,
    ends_at timestamptz,
    kind text,
    status text,
    reason text
  )
on conflict (tenant_id, id) do nothing
returning id
