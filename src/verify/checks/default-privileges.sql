-- title: tables made later are granted to the application unasked
-- severity: warning
-- why: The next table is open to every tenant until somebody remembers its row level security.
-- bad: alter default privileges for role schema_owner grant select on tables to app;
-- good: grants written beside each table's policy
-- fix: Revoke the default privileges.
-- source: PostgreSQL manual, ALTER DEFAULT PRIVILEGES
-- needs: default-privileges
select coalesce(n.nspname, current_database()) as object, coalesce(m.acting_name, 'public') as role, null as action,
       format('tables that `%s` makes%s are granted to %s: %s', o.rolname, case when n.nspname is null then '' else format(' in `%s`', n.nspname) end,
              coalesce('`' || m.name || '`', 'PUBLIC'), string_agg(distinct a.privilege_type, ', ')) as detail,
       format('alter default privileges for role %I%s revoke all on tables from %s;', o.rolname,
              case when n.nspname is null then '' else format(' in schema %I', n.nspname) end, coalesce(quote_ident(m.name), 'public')) as fix
from pg_catalog.pg_default_acl d
join pg_catalog.pg_roles o on o.oid = d.defaclrole
left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
cross join lateral aclexplode(d.defaclacl) a
left join member m on m.oid = a.grantee
where d.defaclobjtype = 'r' and a.grantee <> d.defaclrole and (m.oid is not null or a.grantee = 0)
  and (d.defaclnamespace = 0 or n.nspname in (select jsonb_array_elements_text(j->'schemas') from scope))
group by n.nspname, m.acting_name, m.name, o.rolname
