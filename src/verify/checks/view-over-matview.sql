-- title: a view shows a materialised view's rows of all tenants
-- severity: error
-- why: The copy has no policies; the view gives the right to read it, and its condition is the only guard.
-- bad: create view v as select * from mv; grant select on v to app;
-- good: create view v with (security_barrier) as select * from mv where tenant_id = ...;
-- fix: Compare the tenant in the view and make it a barrier.
-- source: PostgreSQL manual, 41.3 Materialized Views
-- excepts: global-read, definer
-- needs: matviews, view-rights
select distinct v.label as object, c.acting_name as role, 'select' as action,
       format('it reads `%s`, a copy of rows of `%s`%s', k.label, r.label, case when x.filtered then ', and its condition is no barrier' else ', without comparing the tenant' end) as detail
from relation v
join walk w on w.root = v.oid
join relation k on k.oid = w.base and k.kind = 'materialized-view' and k.key_kind <> 'global'
join walk w2 on w2.root = k.oid
join relation r on r.oid = w2.base and r.tenanted and r.stored
join can c on c.relation = v.oid and c.privilege = 'SELECT'
cross join lateral (select bool_or(exists (select from (select pg_get_viewdef(p) as text) d where d.text ~ 'current_setting\(' or exists (
      select from guard g join routine s on s.oid = g.function
      where s.session and d.text ~ ('\m' || regexp_replace(split_part(s.label, '(', 1), '^.*\.', '') || '\(')))) as filtered,
    bool_or(exists (select from pg_catalog.pg_class pc, pg_options_to_table(pc.reloptions) o where pc.oid = p and o.option_name = 'security_barrier' and o.option_value <> 'false')) as barrier
  from unnest(w.path) p) x
where v.kind = 'view' and not (x.filtered and x.barrier)
