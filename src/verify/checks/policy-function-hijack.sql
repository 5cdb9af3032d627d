-- title: a function that policies call can be made to read another table
-- severity: error
-- why: Names without a schema are looked up in pg_temp first, unless the function's own search_path puts it last: a temporary table of that name answers instead.
-- bad: create function is_support() ... security definer as $$ select exists (select from support_staff ..) $$
-- good: ... set search_path = pg_catalog, pg_temp as $$ select exists (select from public.support_staff ..) $$
-- fix: Write the schema in front of every name and set `search_path = pg_catalog, pg_temp` on the function.
-- source: PostgreSQL manual, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely"
-- needs: guards, unqualified-functions
select distinct f.label as object, null as role, null as action,
       format('policy `%s` on `%s` calls it; it names %s without a schema%s', g.name, r.label,
              (select string_agg(format('`%s`', u), ', ') from unnest(f.unqualified) u),
              case when s.path is null then ' and has no search_path of its own' else ' and its search_path does not put pg_temp last' end) as detail,
       case when s.path is null and (has_database_privilege(m.oid, current_database(), 'TEMP')
                 or exists (select from pg_catalog.pg_namespace n where n.nspname !~ '^pg_' and has_schema_privilege(m.oid, n.oid, 'CREATE'))) then 'error' else 'warning' end as severity
from guard g join routine f on f.oid = g.function join relation r on r.oid = g.relation
join can c on c.relation = r.oid join member m on m.oid = c.member
cross join lateral (select max(substr(x, 13)) as path from unnest(f.proconfig) x where x like 'search\_path=%') s
where f.unqualified <> '{}' and (s.path is null or s.path !~ 'pg_temp')
union all
-- It asks a temporary table, which the session makes itself.
select distinct f.label, null, null, format('policy `%s` on `%s` calls it, and it reads a temporary table: every session makes its own', g.name, r.label), 'error'
from guard g join routine f on f.oid = g.function join relation r on r.oid = g.relation
join can c on c.relation = r.oid join member m on m.oid = c.member and has_database_privilege(m.oid, current_database(), 'TEMP')
where f.prosrc ~* '\mpg_temp\s*\.'
