-- title: a foreign key was never checked against the rows that exist
-- severity: warning
-- why: Rows from before may point at other tenants' rows.
-- bad: alter table a add foreign key (tenant_id, b_id) references b not valid;
-- good: alter table a validate constraint ...;
-- fix: Validate the constraint.
-- source: PostgreSQL manual, ALTER TABLE ... NOT VALID
-- needs: invalid-foreign-keys
select r.label as object, null as role, null as action, format('the foreign key `%s` to `%s` is NOT VALID', k.conname, p.label) as detail,
       format('alter table %s validate constraint %I;', r.label, k.conname) as fix
from pg_catalog.pg_constraint k
join relation r on r.oid = k.conrelid and r.tenanted
join relation p on p.oid = k.confrelid and p.tenanted
where k.contype = 'f' and not k.convalidated and k.conparentid = 0
