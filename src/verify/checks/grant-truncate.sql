-- title: the application may truncate a table of tenants
-- severity: error
-- why: TRUNCATE asks no policy: one tenant empties the table of all. It is not tried, because it would lock the table against everybody: the right decides alone whether it runs, but for triggers that raise and tables that refer to this one and may not be truncated too, which make it a warning.
-- bad: grant all on appointments to app;
-- good: grant select, insert, update, delete on appointments to app;
-- fix: Revoke TRUNCATE.
-- source: PostgreSQL manual, 5.9 Row Security Policies: "TRUNCATE and REFERENCES are not subject to row security"
-- needs: table-rights
select r.label as object, c.acting_name as role, 'truncate' as action,
       format('`%s` has TRUNCATE%s%s%s', c.acting_name, min(c.via),
              case when min(g.guard) is not null then format('; the trigger `%s` stands in the way', min(g.guard)) else '' end,
              case when min(k.child) is not null then format('; `%s` refers to it and may not be truncated', min(k.child)) else '' end) as detail,
       format('revoke truncate on %s from %I;', r.label, c.acting_name) as fix,
       format('begin; set local role %I; truncate %s cascade; rollback;', c.acting_name, r.label) as reproduce,
       case when bool_and(g.guard is not null or k.child is not null) then 'warning' end as severity,
       r.label as cells
from can c join relation r on r.oid = c.relation
left join lateral (
  select min(t.tgname) as guard from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises
  where t.tgrelid = r.oid and (t.tgtype & 2) <> 0 and (t.tgtype & 32) <> 0 and t.tgenabled in ('A', 'O')
    -- One that raises only sometimes guards nothing.
    and f.prosrc !~* '\m(if|case|when|loop|return)\M') g on true
left join lateral (
  select min(x.relname) as child from pg_catalog.pg_constraint f join pg_catalog.pg_class x on x.oid = f.conrelid
  where f.contype = 'f' and f.confrelid = r.oid and f.conrelid <> r.oid and not has_table_privilege(c.member, f.conrelid, 'TRUNCATE')
    and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = f.conrelid and i.inhparent = r.oid)) k on true
where c.privilege = 'TRUNCATE' and r.stored and r.key_kind <> 'global'
group by r.label, c.acting_name
