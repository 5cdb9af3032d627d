-- title: the application reads the statements of other sessions
-- severity: error
-- why: Statements of the same role are shown in full, with the values that stand in SET and other utility statements.
-- bad: create extension pg_stat_statements;  -- readable by PUBLIC
-- good: revoke select on pg_stat_statements from public;
-- fix: Revoke SELECT on the view, or install it in a schema that the application has no USAGE on.
-- source: PostgreSQL manual, F.32 pg_stat_statements
-- needs: statement-views, roles
select c.relname as object, m.acting_name as role, 'select' as action,
       format('`%s` may read it: all tenants share the role, so each reads the others'' statements%s', m.acting_name, min(m.via)) as detail,
       format('revoke select on %I.%I from public;', n.nspname, c.relname) as fix
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join member m on not m.unbound and has_schema_privilege(m.oid, n.oid, 'USAGE') and has_any_column_privilege(m.oid, c.oid, 'SELECT')
where c.relname in ('pg_stat_statements', 'pg_stat_monitor', 'pg_store_plans', 'pg_buffercache', 'pg_qualstats') and n.nspname <> 'pg_catalog'
  and exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
group by n.nspname, c.relname, m.acting_name
