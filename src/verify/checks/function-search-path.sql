-- title: a SECURITY DEFINER function looks names up where its caller says
-- severity: warning
-- why: Without a search_path of its own it finds the caller's tables, operators and functions first, and runs them with its owner's rights.
-- bad: create function f() ... security definer as $$ select count(*) from patients $$
-- good: ... set search_path = pg_catalog, pg_temp as $$ select count(*) from public.patients $$
-- fix: `alter function ... set search_path = pg_catalog, pg_temp`, and schemas in front of names.
-- source: PostgreSQL manual, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely"
-- needs: definers
select f.label as object, min(c.acting_name) as role, 'execute' as action,
       format('it runs as `%s` and has no search_path of its own', f.owner_name) as detail,
       format('alter %s %s set search_path = pg_catalog, pg_temp;', case f.kind when 'p' then 'procedure' else 'function' end, f.label) as fix
from routine f join callable c on c.function = f.oid
where f.definer and not f.opaque and not exists (select from unnest(f.proconfig) x where x like 'search\_path=%')
  and not (f.prosrc = '' and f.kind = 'f')
group by f.label, f.owner_name, f.kind
