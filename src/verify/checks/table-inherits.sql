-- title: a parent table shows the rows of tenants' tables
-- severity: error
-- why: A query of the parent reads its children under the parent's policies only.
-- bad: create table a_log () inherits (log); grant select on log to app;
-- good: row level security and the tenant column on the parent
-- fix: Enable row level security on the parent with the same policy.
-- source: PostgreSQL manual, 5.10 Inheritance
-- needs: unkeyed-parents, roles
select distinct r.label as object, c.acting_name as role, lower(c.privilege) as action,
       format('it has no policies, and its child `%s` holds rows of tenants%s', k.label, c.via) as detail
from relation r
join pg_catalog.pg_inherits i on i.inhparent = r.oid
join relation k on k.oid = i.inhrelid and k.tenanted
join can c on c.relation = r.oid and c.rank <= 4
where not r.rls and not r.tenanted and r.stored
