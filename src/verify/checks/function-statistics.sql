-- title: the server's own knowledge of all rows can be read
-- severity: error
-- why: Statistics hold values of columns, activity holds the texts of other sessions, and query_to_xml runs any query: with the owner's rights, no policy binds them.
-- bad: create function common(t text) returns text security definer as $$ select most_common_vals::text from pg_stats where tablename = t $$
-- good: the same as SECURITY INVOKER: pg_stats then leaves out tables whose policies bind the caller
-- fix: Make it SECURITY INVOKER, or revoke EXECUTE.
-- source: PostgreSQL manual, 54.27 pg_stats
-- excepts: definer
-- needs: roles
select f.label as object, c.acting_name as role, 'execute' as action,
       format('it runs as `%s` and uses `%s`%s', f.owner_name, m.name, c.via) as detail
from callable c
join routine f on f.oid = c.function and f.definer
cross join lateral unnest(f.server) m(name)
where (f.unbound or exists (select from free x where x.role = f.owner))
union all
select v.oid::regclass::text, m.acting_name, 'select',
       format('it shows `%s` with the rights of `%s`%s', b.relname, o.rolname, m.via)
from pg_catalog.pg_class v
join pg_catalog.pg_roles o on o.oid = v.relowner and (o.rolsuper or o.rolbypassrls)
join edge e on e.view = v.oid and e.runs_as <> 0
join pg_catalog.pg_class b on b.oid = e.base and b.relnamespace = 'pg_catalog'::regnamespace
  and b.relname in ('pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject')
join member m on not m.unbound and has_schema_privilege(m.oid, v.relnamespace, 'USAGE') and has_any_column_privilege(m.oid, v.oid, 'SELECT')
union all
select format('pg_catalog.%s', s.name), m.acting_name, 'select',
       format('`%s` may read it%s: it holds %s', m.name, m.via, s.what)
from member m
cross join (values ('pg_statistic', 'values of all rows'), ('pg_statistic_ext_data', 'values of all rows'), ('pg_largeobject', 'values of all rows'),
                   ('pg_authid', 'the passwords of all roles'), ('pg_shadow', 'the passwords of all logins'),
                   ('pg_user_mapping', 'passwords for other servers'), ('pg_subscription', 'passwords for other servers')) s(name, what)
where not m.unbound and case when s.name = 'pg_subscription' then has_column_privilege(m.oid, 'pg_catalog.pg_subscription', 'subconninfo', 'SELECT')
            else has_any_column_privilege(m.oid, 'pg_catalog.' || s.name, 'SELECT') end
  and not pg_has_role(m.oid, 'pg_read_all_data', 'USAGE')
