-- Gives this database the grants and settings of the database named by `kinedb.source`, which a copy of a
-- database has not: they belong to the name, not to the content.
do $copy$
declare
  source pg_database;
  one record;
  own text := quote_ident(current_database());
begin
  select * into strict source from pg_database where datname = current_setting('kinedb.source');
  if source.datacl is not null then
    for one in select distinct a.grantee from pg_database d
      cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a where d.datname = current_database()
    loop
      execute format('revoke all on database %s from %s', own, case when one.grantee = 0 then 'public' else one.grantee::regrole::text end);
    end loop;
    for one in select a.* from aclexplode(source.datacl) a loop
      execute format('grant %s on database %s to %s%s', one.privilege_type, own,
        case when one.grantee = 0 then 'public' else one.grantee::regrole::text end,
        case when one.is_grantable then ' with grant option' else '' end);
    end loop;
  end if;
  for one in
    select d.setrole, split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value
    from pg_db_role_setting d cross join unnest(d.setconfig) c where d.setdatabase = source.oid
  loop
    execute format('alter %s set %I to %s',
      case when one.setrole = 0 then 'database ' || own else format('role %s in database %s', one.setrole::regrole, own) end,
      one.name,
      -- A list is kept as it is written.
      case when one.name in ('local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces')
        then one.value else quote_literal(one.value) end);
  end loop;
end
$copy$;
