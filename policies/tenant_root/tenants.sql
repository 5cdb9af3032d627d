drop view if exists public.api_tenants;
create view public.api_tenants
  with (security_invoker = true, security_barrier = true) as
select
  tenant_id,
  slug,
  name,
  status,
  time_zone,
  locale,
  created_at,
  updated_at
from public.tenants;
alter view public.api_tenants owner to kine_owner;

grant select on public.tenants to kine_app;
grant update (name, time_zone, locale) on public.tenants to kine_app;
grant select, update on public.api_tenants to kine_app;

-- The roles that seal and retire go from clinic to clinic, so they see which there are, and nothing else.
drop policy if exists tenant_directory on public.tenants;
-- kinedb: allow policy-true: of two roles without a login that see the ids of the clinics and no other column
create policy tenant_directory on public.tenants as permissive for select to kine_sealer, kine_retention using (true);
grant select (tenant_id) on public.tenants to kine_sealer, kine_retention;
