-- Takes back what the up gave in this database, then drops the roles if no other database of the cluster
-- uses them. The rights of PUBLIC return to what PostgreSQL 15 and later give a new database.

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
    execute format('revoke all on table %s from kine_app, kine_auditor, kine_backup', engine_table);
    execute format('alter table %s owner to %I', engine_table, current_user);
  end loop;
end
$engine$;

do $extension$
begin
  if exists (select from pg_catalog.pg_namespace n where n.nspname = 'kine_extensions') then
    drop extension btree_gist;
    drop schema kine_extensions;
  end if;
end
$extension$;

alter default privileges for role kine_owner grant execute on functions to public;
revoke all on schema public from kine_owner, kine_audit, kine_app, kine_auditor, kine_backup;

do $roles$
declare
  wanted text;
begin
  execute format('grant temporary on database %I to public', pg_catalog.current_database());
  foreach wanted in array array['kine_backup', 'kine_auditor', 'kine_app', 'kine_audit', 'kine_owner'] loop
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
