-- title: a view shows rows of all tenants
-- severity: error
-- why: A view reads with its owner's rights unless it says security_invoker. Where no policy binds the owner, neither do they bind the view's readers.
-- bad: create view api_patients as select * from patients;  -- owned by a superuser
-- good: create view api_patients with (security_invoker = true) as select * from patients;
-- fix: Set `security_invoker = true` on the view and every view below it, or give it an owner that FORCE binds.
-- source: PostgreSQL manual, CREATE VIEW; 41.5 Rules and Privileges
-- excepts: definer, global-read
-- needs: exposing-views
select v.label as object, c.acting_name as role,
       format('it reads `%s` as `%s`, %s%s%s; `%s` may %s%s', r.label, e.owner, e.why,
              case when array_length(e.path, 1) > 1 then format(', by way of `%s`', (select x.label from relation x where x.oid = e.path[array_length(e.path, 1)])) else '' end,
              case when e.filtered then ', and its own condition is no barrier' else '' end,
              c.acting_name, string_agg(distinct lower(c.privilege), ', '), min(c.via)) as detail,
       format('alter view %s set (security_invoker = true%s);', v.label, case when e.filtered then ', security_barrier = true' else '' end) as fix,
       array_agg(distinct lower(c.privilege)) as actions, v.label as cells
from exposed e
join relation v on v.oid = e.view and v.kind = 'view'
join relation r on r.oid = e.base
join can c on c.relation = v.oid and (c.privilege = 'SELECT' and not e.shut
  or c.privilege in ('INSERT', 'UPDATE', 'DELETE') and (pg_relation_is_updatable(v.oid, false) & case c.privilege when 'INSERT' then 8 when 'UPDATE' then 4 else 16 end) <> 0)
where not (e.filtered and (e.barrier or c.privilege in ('UPDATE', 'DELETE')))
  and not (r.stored and not r.rls and exists (select from can d where d.acting = c.acting and d.relation = r.oid and d.privilege = 'SELECT'))
  and not (e.filtered and c.privilege = 'INSERT')
group by v.label, c.acting_name, r.label, e.owner, e.why, e.path, e.filtered
