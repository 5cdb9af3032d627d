-- title: the application may set a sequence back
-- severity: error
-- why: One tenant makes the inserts of all others collide; setval cannot be rolled back.
-- bad: grant all on sequence invoices_no_seq to app;
-- good: grant usage on sequence invoices_no_seq to app;
-- fix: Revoke UPDATE on the sequence.
-- source: PostgreSQL manual, 9.17 Sequence Manipulation Functions
-- needs: sequence-rights
select c.relname as object, m.acting_name as role, 'update' as action,
       format('`%s` has UPDATE on it%s', m.acting_name, min(m.via)) as detail,
       format('revoke update on sequence %I.%I from %I;', n.nspname, c.relname, m.acting_name) as fix
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname !~ '^pg_'
join member m on not m.unbound and not pg_has_role(m.oid, c.relowner, 'USAGE') and has_schema_privilege(m.oid, n.oid, 'USAGE') and has_sequence_privilege(m.oid, c.oid, 'UPDATE')
where c.relkind = 'S'
  and (exists (select from pg_catalog.pg_depend d join relation r on r.oid = d.refobjid and r.tenanted
               where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_catalog.pg_class'::regclass)
       or exists (select from pg_catalog.pg_depend d join pg_catalog.pg_attrdef f on d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = f.oid join relation r on r.oid = f.adrelid and r.tenanted
               where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = c.oid))
group by n.nspname, c.relname, m.acting_name
