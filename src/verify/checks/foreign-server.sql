-- title: the application can connect to another server with stored credentials
-- severity: error
-- why: With USAGE on a server and a user mapping it makes foreign tables of its own, and reads as whoever the mapping says.
-- bad: grant usage on foreign server loop to app;
-- good: revoke usage on foreign server loop from app;
-- fix: Revoke USAGE on the server and drop mappings for PUBLIC.
-- source: PostgreSQL manual, CREATE USER MAPPING; F.38 postgres_fdw
-- needs: foreign-servers, roles
select s.srvname as object, m.acting_name as role, null as action,
       format('`%s` has USAGE on the server `%s`%s%s', m.acting_name, s.srvname,
              case when u.umid is null then '' when u.umuser = 0 then ', which has a user mapping for PUBLIC' else ', which has a user mapping for it' end, min(m.via)) as detail,
       format('revoke usage on foreign server %I from %I;', s.srvname, m.acting_name) as fix,
       case when u.umid is null then 'warning' end as severity
from pg_catalog.pg_foreign_server s
join member m on not m.unbound and has_server_privilege(m.oid, s.oid, 'USAGE')
left join pg_catalog.pg_user_mappings u on u.srvid = s.oid and u.umuser in (0, m.oid)
group by s.srvname, m.acting_name, u.umid, u.umuser
union all
select w.fdwname, m.acting_name, null, format('`%s` has USAGE on the wrapper `%s` and can make servers of its own%s', m.acting_name, w.fdwname, min(m.via)),
       format('revoke usage on foreign data wrapper %I from %I;', w.fdwname, m.acting_name), 'warning'
from pg_catalog.pg_foreign_data_wrapper w
join member m on not m.unbound and has_foreign_data_wrapper_privilege(m.oid, w.oid, 'USAGE')
group by w.fdwname, m.acting_name
