-- title: a foreign key is not checked against the rows that exist
-- severity: warning
-- why: Rows from before, or since PostgreSQL 18 any row where it is not enforced, may point at other tenants' rows.
-- bad: alter table a add foreign key (tenant_id, b_id) references b not valid;
-- good: alter table a validate constraint ...;
-- fix: Validate the constraint, or enforce it.
-- source: PostgreSQL manual, ALTER TABLE ... NOT VALID, NOT ENFORCED
-- needs: invalid-foreign-keys
select r.label as object, null as role, null as action,
       format('the foreign key `%s` to `%s` is %s', k.conname, p.label, case when l.loose then 'NOT ENFORCED' else 'NOT VALID' end) as detail,
       case when l.loose then format('alter table %s alter constraint %I enforced;', r.label, k.conname)
            else format('alter table %s validate constraint %I;', r.label, k.conname) end as fix
from pg_catalog.pg_constraint k
join relation r on r.oid = k.conrelid and r.tenanted
join relation p on p.oid = k.confrelid and p.tenanted
-- A column of PostgreSQL 18 and later.
cross join lateral (select coalesce(to_jsonb(k)->>'conenforced' = 'false', false) as loose) l
where k.contype = 'f' and not k.convalidated and k.conparentid = 0
