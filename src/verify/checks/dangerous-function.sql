-- title: the application may call functions that reach around the database
-- severity: error
-- why: They read files, connect as the server, or change the catalogue; in an untrusted language any text does.
-- bad: grant execute on function pg_read_file(text) to app;
-- good: revoke execute on function pg_read_file(text) from app;
-- fix: Revoke EXECUTE.
-- source: PostgreSQL manual, 9.28.9 Generic File Access Functions; F.12 dblink
-- needs: roles
select format('%s.%s', n.nspname, p.proname) as object, m.acting_name as role, 'execute' as action,
       format('`%s` may call it%s', m.acting_name, min(m.via)) as detail,
       format('revoke execute on all functions in schema %I from public, %I; -- or this one only', n.nspname, m.acting_name) as fix
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join member m on not m.unbound and has_function_privilege(m.oid, p.oid, 'EXECUTE') and has_schema_privilege(m.oid, n.oid, 'USAGE')
-- Under another name it is the same: a function in `internal` or C is what it calls in the server.
cross join (select array['pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'lo_import', 'lo_export', 'dblink_connect_u', 'pg_file_write',
                         'pg_file_rename', 'pg_file_unlink', 'pg_reload_conf', 'pg_get_wal_block_info', 'pg_get_wal_record_info',
                         'pg_get_wal_records_info', 'pg_get_wal_records_info_till_end_of_wal', 'pg_get_wal_fpi_info']::name[] as names) k
-- One in SQL calls another of these names, with its caller's rights.
where p.proname = any (k.names) and (p.prolang in (12, 13) or p.prosecdef)
   or p.prolang = 12 and p.pronamespace <> 'pg_catalog'::regnamespace and exists (
        select from pg_catalog.pg_proc o
        where o.proname = any (k.names) and o.pronamespace = 'pg_catalog'::regnamespace and o.prolang = 12 and o.prosrc = p.prosrc)
group by n.nspname, p.proname, m.acting_name
union all
-- What an untrusted language does it does as the user of the server; extensions bring their own, and know why.
select f.label, m.acting_name, 'execute', format('`%s` may call it%s, and it is in `%s`, which works as the user of the server', m.acting_name, min(m.via), l.lanname),
       format('revoke execute on function %s from public, %I;', f.label, m.acting_name)
from routine f
join pg_catalog.pg_proc p on p.oid = f.oid
join pg_catalog.pg_language l on l.oid = p.prolang and not l.lanpltrusted and l.oid not in (12, 13)
join member m on not m.unbound and has_function_privilege(m.oid, f.oid, 'EXECUTE') and has_schema_privilege(m.oid, f.schema, 'USAGE')
where not f.trigger
  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = f.oid and d.deptype = 'e')
group by f.label, m.acting_name, l.lanname
