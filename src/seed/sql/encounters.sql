insert into public.encounters (tenant_id, id, patient_id, practitioner_id, appointment_id, kind, started_at, ended_at, status)
select $1, r.id, r.patient_id, r.practitioner_id, r.appointment_id, r.kind, r.started_at, r.ended_at, r.status
  from pg_catalog.jsonb_to_recordset($2) as r (
    id uuid,
    patient_id uuid,
    practitioner_id uuid,
    appointment_id uuid,
    kind text,
    started_at timestamptz,
    ended_at timestamptz,
    status text
  )
on conflict (tenant_id, id) do nothing
returning id
