-- title: the application may write to a table that all tenants share
-- severity: error
-- why: What one tenant writes there, every other one reads.
-- bad: grant insert on icd10 to app;
-- good: grant select on icd10 to app;
-- fix: Revoke the writes, or except the table as `global-write` with the reason.
-- source: kinedb configuration, `exception`
-- excepts: global-write
-- needs: global-rights
select r.label as object, c.acting_name as role, lower(min(c.privilege)) as action,
       format('it is declared global, and `%s` may %s', c.acting_name, string_agg(distinct lower(c.privilege), ', ')) as detail,
       format('revoke %s on %s from %I;', string_agg(distinct lower(c.privilege), ', '), r.label, c.acting_name) as fix
from can c join relation r on r.oid = c.relation
where r.stored and r.key_kind = 'global' and c.rank between 2 and 5
  and (not r.rls or c.privilege = 'TRUNCATE' or exists (select from allowed a where a.acting = c.acting and a.relation = r.oid and a.privilege = c.privilege))
group by r.label, c.acting_name
