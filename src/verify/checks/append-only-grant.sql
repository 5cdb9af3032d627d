-- title: rows of an append-only table can be changed
-- severity: error
-- why: What must never change may only be inserted; a grant of UPDATE, DELETE or TRUNCATE says otherwise.
-- bad: grant update on note_versions to app;
-- good: revoke update, delete, truncate on note_versions from app;
-- fix: Revoke the privileges, from predefined roles too.
-- source: PostgreSQL manual, GRANT
-- needs: append-only, roles
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
union all
-- Through a view the rights are those of its owner.
select v.label, c.acting_name, min(lower(c.privilege)),
       format('`%s` may %s%s, and changes rows of `%s` by it as `%s`', c.acting_name, string_agg(distinct lower(c.privilege), ', '), min(c.via), r.label, o.rolname),
       format('revoke update, delete on %s from %I;', v.label, c.acting_name), null, array_agg(distinct lower(c.privilege)), null
from relation r
join walk w on w.base = r.oid and w.runs_as <> 0
join relation v on v.oid = w.root and v.kind = 'view'
join pg_catalog.pg_roles o on o.oid = w.runs_as
join can c on c.relation = v.oid and c.rank in (3, 4) and has_table_privilege(w.runs_as, r.oid, c.privilege)
  and (pg_relation_is_updatable(v.oid, false) & case c.privilege when 'UPDATE' then 4 else 16 end) <> 0
where r.append_only and r.stored
group by v.label, c.acting_name, r.label, o.rolname
union all
-- And a function's are those of its owner, called by name or by a trigger.
select distinct f.label, c.acting_name, 'execute',
       format('it runs as `%s` and changes rows of `%s` that are there; `%s` %s', f.owner_name, r.label, c.acting_name, c.how),
       format('revoke execute on function %s from public, %I;', f.label, c.acting_name), null, null::text[], null
from relation r
join pg_catalog.pg_class k on k.oid = r.oid
join routine f on f.definer and r.oid = any (f.writes)
join lateral (
  select x.acting_name, 'may call it' || x.via as how from callable x where x.function = f.oid
  union all
  select x.acting_name, format('runs it by the trigger `%s` on `%s`', t.tgname, s.label)
  from pg_catalog.pg_trigger t
  join relation s on s.oid = t.tgrelid
  join can x on x.relation = s.oid and (t.tgtype & case x.privilege when 'INSERT' then 4 when 'DELETE' then 8 when 'UPDATE' then 16 else 0 end) <> 0
  where t.tgfoid = f.oid and not t.tgisinternal and t.tgenabled <> 'D') c on true
where r.append_only and r.stored
  and coalesce(nullif(f.prosrc, ''), pg_get_function_sqlbody(f.oid)) ~* ('\m(update|delete\s+from|truncate|truncate\s+table|merge\s+into)\s+(only\s+)?("?\w+"?\s*\.\s*)?"?' || regexp_replace(k.relname, '(\W)', '\\\1', 'g') || '"?(\W|$)')
  and (select bool_or(has_table_privilege(f.owner, r.oid, p)) from unnest(array['UPDATE', 'DELETE', 'TRUNCATE']) p)
