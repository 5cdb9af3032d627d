-- Class immutable: written once, by a trigger, then neither changed nor removed by anybody. The table
-- belongs to kine_audit; the guards fire always, also for a replication role. Isolated like tenant_scoped.
alter table public.{table} enable row level security;
alter table public.{table} force row level security;

drop policy if exists tenant_isolation on public.{table};
create policy tenant_isolation on public.{table}
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.{table} from public, kine_app, kine_auditor, kine_backup;
grant select on table public.{table} to kine_backup;

create or replace trigger worm_row before update or delete on public.{table}
  for each row execute function public.refuse_change();
create or replace trigger worm_statement before update or delete or truncate on public.{table}
  for each statement execute function public.refuse_change();
alter table public.{table} enable always trigger worm_row;
alter table public.{table} enable always trigger worm_statement;
