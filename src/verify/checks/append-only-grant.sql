-- title: rows of an append-only table can be changed
-- severity: error
-- why: What must never change may only be inserted; a grant of UPDATE, DELETE or TRUNCATE says otherwise.
-- bad: grant update on note_versions to app;
-- good: revoke update, delete, truncate on note_versions from app;
-- fix: Revoke the privileges, from predefined roles too.
-- source: PostgreSQL manual, GRANT
-- needs: append-only-rights
select r.label as object, c.acting_name as role, min(lower(c.privilege)) as action,
       format('`%s` may %s%s%s', c.acting_name, string_agg(distinct lower(c.privilege), ', '), min(c.via),
              case when g.guards is not null then format('; the trigger `%s` stands in the way', g.guards) else '' end) as detail,
       format('revoke update, delete, truncate on %s from %I;', r.label, c.acting_name) as fix,
       case when g.guards is not null or not bool_or(c.privilege = 'TRUNCATE' or not r.rls or a.privilege is not null) then 'warning' end as severity,
       array_agg(distinct lower(c.privilege)) as actions, r.label as cells
from relation r
join can c on c.relation = r.oid and c.rank between 3 and 5
left join allowed a on a.acting = c.acting and a.member = c.member and a.relation = c.relation and a.privilege = c.privilege
left join lateral (
  select min(t.tgname) as guards from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises
  where t.tgrelid = r.oid and (t.tgtype & 2) <> 0 and t.tgenabled in ('A', 'O')
    and (t.tgtype & case c.privilege when 'DELETE' then 8 when 'UPDATE' then 16 else 32 end) <> 0) g on true
where r.append_only and r.stored
group by r.label, c.acting_name, g.guards
