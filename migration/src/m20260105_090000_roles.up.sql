-- Everything that needs the installer: roles, schema and database rights, the one extension.
-- Roles belong to the whole cluster; all else here belongs to this database.

-- The five roles of Kine, what they may be, and what they hold on the schema and the database.
-- Runs again over any state without harm. Needs a superuser, or the database's owner with CREATEROLE.

do $roles$
declare
  wanted text;
  found record;
  installer record;
  want_priv constant text :=
    case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end;
begin
  select r.rolsuper, r.rolbypassrls into strict installer
    from pg_catalog.pg_roles r where r.rolname = current_user;

  -- Roles belong to the cluster, the migration lock to one database: another database may win
  -- the race for any of these, and that is as good as winning it here.
  foreach wanted in array array['kine_owner', 'kine_audit', 'kine_app', 'kine_auditor', 'kine_backup'] loop
    if not exists (select from pg_catalog.pg_roles r where r.rolname = wanted) then
      begin
        execute format('create role %I nologin', wanted);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
    select r.* into strict found from pg_catalog.pg_roles r where r.rolname = wanted;
    if found.rolsuper or found.rolcreaterole or found.rolcreatedb or found.rolcanlogin
       or found.rolreplication or (found.rolbypassrls and wanted <> 'kine_backup') then
      raise exception 'role "%" exists with more rights than Kine gives it', wanted
        using errcode = 'object_not_in_prerequisite_state',
              hint = format('alter role %I nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls', wanted);
    end if;
  end loop;

  -- Only a role that row security does not bind can dump every clinic. Not every installer may
  -- make one; without it `pg_dump` refuses, which is the safe failure.
  if not (select r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = 'kine_backup')
     and (installer.rolsuper
          or (installer.rolbypassrls and current_setting('server_version_num')::int >= 160000)) then
    begin
      alter role kine_backup bypassrls;
    exception when insufficient_privilege or internal_error then
      null; -- not ours to give, or another database is giving it now
    end;
  end if;

  -- What the installer must be able to act as: the owner of the tables, and the roles that the
  -- proof before each commit acts as. Never kine_audit: that membership lasts for one migration.
  foreach wanted in array array['kine_owner', 'kine_app', 'kine_auditor'] loop
    if not (pg_catalog.pg_has_role(current_user, wanted, want_priv)
            and pg_catalog.pg_has_role(current_user, wanted, 'USAGE')) then
      begin
        execute format('grant %I to %I', wanted, current_user);
      exception
        when unique_violation then
          null; -- the same login, in another database, a moment ago
        when insufficient_privilege then
          raise exception 'role "%" exists and "%" may not act as it', wanted, current_user
            using errcode = 'insufficient_privilege',
                  hint = format('as its creator or a superuser: grant %I to %I', wanted, current_user);
      end;
    end if;
  end loop;

  execute format('revoke temporary on database %I from public', pg_catalog.current_database());
end
$roles$;

revoke create on schema public from public;
revoke all on schema public from kine_owner, kine_audit, kine_app, kine_auditor, kine_backup;
grant usage, create on schema public to kine_owner, kine_audit;
grant usage on schema public to kine_app, kine_auditor, kine_backup;

-- A function that nobody thought about is closed, like a table without a policy file.
alter default privileges for role kine_owner revoke execute on functions from public;

-- kinedb's own tables tell of deployments, not of clinics: the application has no business there.
do $engine$
declare
  engine_table regclass;
begin
  for engine_table in
    select c.oid::regclass
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'public'
       and c.relname in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')
       and c.relkind = 'r'
     order by c.relname
  loop
    execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup', engine_table);
    execute format('grant select on table %s to kine_backup', engine_table);
  end loop;
end
$engine$;

-- btree_gist lets one exclusion constraint compare the tenant and the time of an appointment. It is a
-- trusted extension, and it gets a schema of its own which nobody may use: its functions are reached
-- by indexes, never by name. Where the database already has it, that one serves.
do $extension$
begin
  if exists (select from pg_catalog.pg_extension e where e.extname = 'btree_gist') then
    return;
  end if;
  execute format('grant create on database %I to kine_owner', pg_catalog.current_database());
  set local role kine_owner;
  create schema kine_extensions;
  comment on schema kine_extensions is 'Extensions that indexes need; no role may use it.';
  create extension btree_gist with schema kine_extensions;
  reset role;
  execute format('revoke create on database %I from kine_owner', pg_catalog.current_database());
end
$extension$;

-- kinedb made its own tables before the first migration; from here on their owner is kine_owner, so that
-- a deploying login needs no more than membership in it.
do $engine$
declare
  engine_table regclass;
begin
  for engine_table in
    select c.oid::regclass
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'public'
       and c.relname in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')
       and c.relkind = 'r'
     order by c.relname
  loop
    execute format('alter table %s owner to kine_owner', engine_table);
  end loop;
end
$engine$;
