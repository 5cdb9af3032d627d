-- title: a sequence tells how much other tenants write
-- severity: error
-- why: One sequence numbers the rows of all tenants; who may SELECT it reads the last value.
-- bad: grant select on sequence invoices_no_seq to app;
-- good: grant usage on sequence invoices_no_seq to app;
-- fix: Revoke SELECT; number per tenant where the number is shown.
-- source: PostgreSQL manual, CREATE SEQUENCE; GRANT
-- needs: sequence-rights
select c.relname as object, m.acting_name as role, 'select' as action,
       format('`%s` may read its last value; it numbers rows of `%s`%s', m.acting_name, r.label, min(m.via)) as detail,
       format('revoke select on sequence %I.%I from %I;', n.nspname, c.relname, m.acting_name) as fix,
       -- Who may insert sees the next id of a surrogate key anyway; a number that people read is another matter.
       case when bool_and(exists (select from pg_catalog.pg_attribute a where a.attrelid = r.oid and a.attnum = d.refobjsubid and (a.attname ~* '(^|_)id$' or a.attname ~ 'Id$')))
            then 'note' end as severity
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i')
join relation r on r.oid = d.refobjid and r.tenanted
join member m on not m.unbound and not pg_has_role(m.oid, c.relowner, 'USAGE') and has_schema_privilege(m.oid, n.oid, 'USAGE') and has_sequence_privilege(m.oid, c.oid, 'SELECT')
where c.relkind = 'S'
group by n.nspname, c.relname, m.acting_name, r.label
