insert into public.patients (tenant_id, id, mrn, given_name, family_name, preferred_name, birth_date, sex, language, phone, email, address, health_insurance_number, primary_practitioner_id, portal_user_id, archived_at)
select $1, r.id, r.mrn, r.given_name, r.family_name, r.preferred_name, r.birth_date, r.sex, r.language, r.phone, r.email, r.address, r.health_insurance_number, r.primary_practitioner_id, r.portal_user_id, r.archived_at
  from pg_catalog.jsonb_to_recordset($2) as r (
    id uuid,
    mrn text,
    given_name text,
    family_name text,
    preferred_name text,
    birth_date date,
    sex text,
    language text,
    phone text,
    email text,
    address text,
    health_insurance_number text,
    primary_practitioner_id uuid,
    portal_user_id uuid,
    archived_at timestamptz
  )
on conflict (tenant_id, id) do nothing
returning id
