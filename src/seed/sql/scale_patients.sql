-- Everything follows from the number, so that a second run makes the same rows and every laptop has them.
insert into public.patients (tenant_id, id, mrn, given_name, family_name, birth_date, sex, language, phone, email,
                             health_insurance_number, primary_practitioner_id)
select $1, pg_catalog.md5($1::text || ' patient ' || n)::uuid, 'GEN-' || pg_catalog.lpad(n::text, 8, '0'),
       (array['Alice', 'Bruno', 'Chloé', 'David', 'Émilie', 'Frank', 'Gabrielle', 'Henri', 'Isabelle', 'James', 'Karine',
              'Louis', 'Maude', 'Nathan', 'Olivia', 'Philippe', 'Rose', 'Samuel', 'Tessa', 'Victor'])[1 + n % 20],
       (array['Allard', 'Baker', 'Caron', 'Dubois', 'Ellis', 'Fortin', 'Gagné', 'Harris', 'Jobin', 'Kelly', 'Lapointe',
              'Martin', 'Nadeau', 'Owens', 'Pelletier', 'Quirion', 'Robert', 'Savard', 'Turner', 'Vachon', 'Walker'])[1 + n / 20 % 21],
       date '1930-01-01' + (n * 7919 % 33000)::int,
       (array['female', 'male', 'female', 'male', 'female', 'male', 'other', 'unknown'])[1 + n / 3 % 8],
       (array['fr', 'en', 'fr'])[1 + n % 3],
       '514-555-01' || pg_catalog.lpad((n % 100)::text, 2, '0'),
       'patient.' || n || '@generated.example.org',
       'FAKE-GEN-' || pg_catalog.lpad(n::text, 8, '0'),
       $2
  from pg_catalog.generate_series($3::bigint, $4::bigint) as n
on conflict do nothing
