insert into public.users (tenant_id, id, email, full_name, role, status)
select $1, $2, 'practitioner.' || n || '@generated.example.org',
       'Dr. ' || (array['Ada', 'Benoît', 'Clara', 'Denis', 'Elena', 'Félix', 'Grace', 'Hugo', 'Inès', 'Jonas'])[1 + n % 10]
              || ' ' || (array['Arsenault', 'Beaulieu', 'Campbell', 'Dufour', 'Evans', 'Fraser', 'Girard'])[1 + n % 7],
       'practitioner', 'active'
  from (values ($3::bigint)) as block (n)
on conflict do nothing
