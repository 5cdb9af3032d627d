-- Two visits for each patient of the practitioner, one after the other: sixteen half hours a day, from 2024 on.
insert into public.appointments (tenant_id, id, patient_id, practitioner_id, starts_at, ends_at, kind, status, reason)
select $1, pg_catalog.md5($1::text || ' appointment ' || n || ' ' || visit)::uuid,
       pg_catalog.md5($1::text || ' patient ' || n)::uuid, $2,
       slot.starts_at, slot.starts_at + interval '30 minutes',
       (array['consultation', 'follow_up', 'procedure', 'urgent', 'telehealth', 'phone'])[1 + (n + visit) % 6],
       (array['completed', 'completed', 'completed', 'completed', 'completed', 'cancelled', 'completed', 'completed', 'no_show', 'completed'])[1 + (n * 3 + visit) % 10],
       (array['Annual check-up', 'Suivi de tension', 'Sore throat', 'Douleur au genou', 'Prescription renewal', 'Fatigue'])[1 + n % 6]
  from pg_catalog.generate_series($3::bigint, $4::bigint) as n
 cross join pg_catalog.generate_series(0, 1) as visit
 cross join lateral (values ((n - $3::bigint) * 2 + visit)) as place (number)
 cross join lateral (values (timestamptz '2024-01-01 13:00+00'
   + place.number / 16 * interval '1 day' + place.number % 16 * interval '30 minutes')) as slot (starts_at)
on conflict do nothing
