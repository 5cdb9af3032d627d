select pg_catalog.count(*) from public.patients p where p.tenant_id = $1 and p.primary_practitioner_id = $2
