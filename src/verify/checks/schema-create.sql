-- title: the application may create objects in a schema
-- severity: warning
-- why: Functions, operators and tables of its own can stand in for those that others mean, where names are looked up without a schema.
-- bad: grant create on schema public to app;
-- good: revoke create on schema public from public, app;
-- fix: Revoke CREATE on the schema.
-- source: PostgreSQL manual, 5.10.6 Usage Patterns for Schemas; CVE-2018-1058
-- needs: creators
select n.nspname as object, m.acting_name as role, null as action, format('`%s` has CREATE on the schema `%s`%s', m.acting_name, n.nspname, min(m.via)) as detail,
       format('revoke create on schema %I from public, %I;', n.nspname, m.acting_name) as fix
from member m
join pg_catalog.pg_namespace n on n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and has_schema_privilege(m.oid, n.oid, 'CREATE')
where not m.unbound and not pg_has_role(m.oid, n.nspowner, 'USAGE')
  and n.nspname in (select jsonb_array_elements_text(j->'schemas') from scope)
group by n.nspname, m.acting_name
