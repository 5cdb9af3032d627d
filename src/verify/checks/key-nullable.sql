-- title: the tenant's column may be null
-- severity: note
-- why: A row without a tenant belongs to nobody: the policies hide it, and a later `is null` would share it.
-- bad: tenant_id uuid
-- good: tenant_id uuid not null
-- fix: `alter table ... alter column ... set not null`.
-- source: PostgreSQL manual, 5.4.2 Not-Null Constraints
-- needs: nullable-keys, roles
select r.label as object, null as role, null as action, format('`%s` may be null', r.key) as detail,
       format('alter table %s alter column %I set not null;', r.label, r.key) as fix
from relation r
where r.stored and r.tenanted and r.key_nullable and exists (select from can c where c.relation = r.oid)
