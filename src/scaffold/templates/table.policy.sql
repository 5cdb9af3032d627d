drop view if exists public.api_{table};
create view public.api_{table}
  with (security_invoker = true, security_barrier = true) as
select
  id,
  created_at,
  updated_at
from public.{table};
alter view public.api_{table} owner to kine_owner;

grant select, delete on public.{table} to kine_app;
grant insert (tenant_id, id) on public.{table} to kine_app;
grant select, insert, delete on public.api_{table} to kine_app;
