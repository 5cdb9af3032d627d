-- kine_audit owns what follows, and the login that migrates is its member for this one transaction.
do $member$
begin
  if not pg_catalog.pg_has_role(current_user, 'kine_audit', 'USAGE') then
    execute format('grant kine_audit to %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', current_user, true);
  end if;
exception when insufficient_privilege then
  raise exception 'this migration changes what kine_audit owns, and "%" may not act as it', current_user
    using errcode = 'insufficient_privilege',
          hint = 'run it as a superuser, or as the CREATEROLE role that made kine_audit';
end
$member$;

set local role kine_owner;
revoke select on all sequences in schema public from kine_backup;
revoke select (tenant_id) on public.tenants from kine_sealer, kine_retention;
drop policy tenant_directory on public.tenants;
reset role;

do $retention$
declare
  part regclass;
begin
  for part in
    select t.relid from pg_catalog.pg_partition_tree('public.audit_events'::regclass) t
  loop
    execute format('drop policy audit_retention on %s', part);
    execute format('revoke all on table %s from kine_sealer, kine_retention', part);
  end loop;
end
$retention$;

revoke all on function public.create_audit_partition(date) from kine_sealer;
drop function public.retire_audit_month(date, bigint, bytea);
drop function public.seal_audit_events(integer);
drop function public.audit_seal_hash(public.audit_seals);
drop function public.audit_retention_floor();
drop table public.audit_seals;

create or replace function public.create_audit_partition(month date) returns regclass
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  first_day constant date := date_trunc('month', month)::date;
  part_name constant text := 'audit_events_' || to_char(month, 'YYYY_MM');
  part regclass;
  rule record;
begin
  -- Two callers must not both find that the month is missing.
  lock table public.audit_events in share update exclusive mode;
  part := to_regclass(format('public.%I', part_name));
  if part is not null then
    return part;
  end if;

  -- Made apart and closed first, attached last: attaching does not block those who write the current month.
  execute format('create table public.%I (like public.audit_events including all)', part_name);
  part := format('public.%I', part_name)::regclass;
  execute format('comment on table %s is %L', part, 'Audit events of ' || to_char(month, 'YYYY-MM') || ' in UTC.');
  execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup', part);
  execute format('grant select on table %s to kine_backup', part);
  execute format('alter table %s enable row level security', part);
  execute format('alter table %s force row level security', part);
  for rule in
    select p.polname,
           case when p.polpermissive then 'permissive' else 'restrictive' end as kind,
           case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                         when 'd' then 'delete' else 'all' end as command,
           (select string_agg(case r.oid when 0 then 'public' else quote_ident(a.rolname) end, ', ')
              from unnest(p.polroles) as r (oid) left join pg_catalog.pg_roles a on a.oid = r.oid) as roles,
           ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')' as qual,
           ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')' as with_check
      from pg_catalog.pg_policy p
     where p.polrelid = 'public.audit_events'::regclass
  loop
    execute format('create policy %I on %s as %s for %s to %s', rule.polname, part, rule.kind, rule.command, rule.roles)
      || coalesce(rule.qual, '') || coalesce(rule.with_check, '');
  end loop;
  execute format('create trigger worm_statement before update or delete or truncate on %s'
    ' for each statement execute function public.refuse_change()', part);
  execute format('alter table public.audit_events attach partition %s for values from (%L) to (%L)',
    part, first_day::text || ' 00:00:00+00', (first_day + interval '1 month')::date::text || ' 00:00:00+00');
  execute format('alter table %s enable always trigger worm_statement', part);
  execute format('alter table %s enable always trigger worm_row', part);
  return part;
end
$body$;

do $member$
begin
  if nullif(pg_catalog.current_setting('kine.joined_audit', true), '') is not null then
    execute format('revoke kine_audit from %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', '', true);
  end if;
end
$member$;

revoke usage on schema public from kine_sealer, kine_retention;
do $roles$
declare
  wanted text;
begin
  foreach wanted in array array['kine_retention', 'kine_sealer'] loop
    begin
      execute format('drop role %I', wanted);
    exception
      when dependent_objects_still_exist then
        raise notice 'role "%" stays: another database uses it', wanted;
      when insufficient_privilege then
        raise notice 'role "%" stays: it is not "%" who may drop it', wanted, current_user;
      when undefined_object then
        null; -- another database dropped it a moment ago
    end;
  end loop;
end
$roles$;
