drop view if exists public.api_users;
create view public.api_users
  with (security_invoker = true, security_barrier = true) as
select
  id,
  email,
  full_name,
  role,
  status,
  created_at,
  updated_at
from public.users;
alter view public.api_users owner to kine_owner;

grant select on public.users to kine_app;
grant insert (tenant_id, id, email, full_name, role, status) on public.users to kine_app;
grant update (email, full_name, role, status) on public.users to kine_app;
grant select, insert, update on public.api_users to kine_app;
