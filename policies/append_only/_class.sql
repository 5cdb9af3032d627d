-- Class append_only: filled by triggers, partitioned by month, never changed. Everything that holds for the
-- table holds for each of its partitions by itself, because a partition can be named directly.
create or replace trigger worm_row before update or delete on public.{table}
  for each row execute function public.refuse_change();

do $class$
declare
  part regclass;
begin
  for part in
    select t.relid from pg_catalog.pg_partition_tree('public.{table}'::regclass) t
  loop
    execute format('alter table %s enable row level security', part);
    execute format('alter table %s force row level security', part);
    execute format('drop policy if exists tenant_isolation on %s', part);
    execute format($policy$create policy tenant_isolation on %s
      as permissive for all to public
      using (tenant_id = (select current_setting('app.tenant_id')::uuid))
      with check (tenant_id = (select current_setting('app.tenant_id')::uuid))$policy$, part);
    -- The audit triggers also run for a superuser who sets no context; their rows carry the tenant
    -- of the row that changed. Nobody is a member of kine_audit.
    execute format('drop policy if exists audit_writer on %s', part);
    execute format('create policy audit_writer on %s as permissive for insert to kine_audit with check (true)', part);
    execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup', part);
    execute format('grant select on table %s to kine_backup', part);
    execute format('create or replace trigger worm_statement before update or delete or truncate on %s'
      ' for each statement execute function public.refuse_change()', part);
    execute format('alter table %s enable always trigger worm_row', part);
    execute format('alter table %s enable always trigger worm_statement', part);
  end loop;
end
$class$;
