-- title: a table of tenants has no row level security
-- severity: error
-- why: Grants alone let every tenant reach every row. Partitions and children need their own: a query that names them does not pass through the parent's policies.
-- bad: grant select on patients to app;  -- and row level security not enabled
-- good: alter table patients enable row level security; alter table patients force row level security;
-- fix: Enable and force row level security and write a policy, or revoke the grants.
-- source: PostgreSQL manual, 5.9 Row Security Policies; 5.11.2 Declarative Partitioning
-- needs: unguarded-rights
select r.label as object, c.acting_name as role,
       format('row level security is off, and `%s` may %s%s%s', c.acting_name, string_agg(distinct lower(c.privilege), ', '), min(c.via),
              case when exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid) then '; it is a partition or child, reached by its own name' else '' end) as detail,
       format('alter table %s enable row level security; alter table %s force row level security; -- and a policy', r.label, r.label) as fix,
       array_agg(distinct lower(c.privilege)) as actions, r.label as cells
from can c join relation r on r.oid = c.relation
where r.tenanted and r.stored and not r.rls and c.rank <= 4
group by r.label, r.oid, c.acting_name
