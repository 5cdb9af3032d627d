insert into public.tenants (tenant_id, slug, name, status, time_zone, locale)
select $1, r.slug, r.name, r.status, r.time_zone, r.locale
  from pg_catalog.jsonb_to_recordset($2) as r (
    slug text,
    name text,
    status text,
    time_zone text,
    locale text
  )
on conflict (tenant_id) do nothing
returning tenant_id
