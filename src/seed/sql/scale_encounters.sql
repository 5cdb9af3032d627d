insert into public.encounters (tenant_id, id, patient_id, practitioner_id, appointment_id, kind, started_at, ended_at, status)
select $1, pg_catalog.md5(a.id::text || ' encounter')::uuid, a.patient_id, $2, a.id,
       case a.kind when 'telehealth' then 'telehealth' when 'phone' then 'phone' else 'in_person' end,
       a.starts_at, a.ends_at, 'completed'
  from public.appointments a
 where a.tenant_id = $1 and a.practitioner_id = $2 and a.status = 'completed'
on conflict do nothing
