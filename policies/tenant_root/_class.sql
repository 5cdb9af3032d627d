-- Class tenant_root: one row per tenant, and that row is the tenant. A new tenant is inserted in its own
-- context by the owner; the application sees its own clinic and no other.
alter table public.{table} enable row level security;
alter table public.{table} force row level security;

drop policy if exists tenant_isolation on public.{table};
create policy tenant_isolation on public.{table}
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.{table} from public, kine_app, kine_auditor, kine_backup;
grant select on table public.{table} to kine_backup;
