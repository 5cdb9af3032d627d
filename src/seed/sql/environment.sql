-- One row: what this database is for. Belongs to kine_owner once there is one.
do $environment$
begin
  begin
    create table public.kinedb_environment (
      singleton boolean not null default true,
      environment text not null,
      set_at timestamptz not null default now(),
      set_by text not null default session_user,
      constraint kinedb_environment_pkey primary key (singleton),
      constraint kinedb_environment_singleton_check check (singleton),
      constraint kinedb_environment_environment_check
        check (environment in ('development', 'staging', 'production'))
    );
  exception when duplicate_table or unique_violation then
    return; -- another session makes it
  end;
  comment on table public.kinedb_environment is 'What this database is for. kinedb seeds and resets development databases only.';
  revoke all on table public.kinedb_environment from public;
  if exists (select from pg_catalog.pg_roles r where r.rolname = 'kine_owner')
     and exists (select from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass('public.tenants')) then
    alter table public.kinedb_environment owner to kine_owner;
    grant select on table public.kinedb_environment to kine_backup;
  end if;
end
$environment$;
