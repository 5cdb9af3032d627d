insert into public.users (tenant_id, id, email, full_name, role, status)
select $1, r.id, r.email, r.full_name, r.role, r.status
  from pg_catalog.jsonb_to_recordset($2) as r (
    id uuid,
    email text,
    full_name text,
    role text,
    status text
  )
on conflict (tenant_id, id) do nothing
returning id
