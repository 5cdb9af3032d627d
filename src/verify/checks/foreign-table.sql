-- title: a foreign table is reachable, and no policy can guard it
-- severity: error
-- why: Row level security does not exist for foreign tables: every row that the mapping's user sees is seen.
-- bad: grant select on remote_patients to app;
-- good: a view that filters by tenant, with a barrier, and no grant on the foreign table
-- fix: Revoke the grant, or except the table with a reason.
-- source: PostgreSQL manual, CREATE POLICY; CREATE FOREIGN TABLE
-- excepts: global-read, global-write, unproven
-- needs: foreign-tables, roles
select r.label as object, c.acting_name as role, min(lower(c.privilege)) as action,
       format('`%s` may %s%s', c.acting_name, string_agg(distinct lower(c.privilege), ', '), min(c.via)) as detail,
       format('revoke all on %s from %I;', r.label, c.acting_name) as fix, true as unproven, r.label as cells
from relation r join can c on c.relation = r.oid and c.rank <= 4
where r.kind = 'foreign-table' and r.key_kind <> 'global'
group by r.label, c.acting_name
