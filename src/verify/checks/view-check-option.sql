-- title: rows of another tenant can be written through a view
-- severity: error
-- why: The view's owner is bound by no policy, and without WITH CHECK OPTION a new row need not meet the view's condition.
-- bad: create view v as select * from patients where tenant_id = ...; grant insert on v to app;
-- good: ... with check option, or security_invoker
-- fix: Set `security_invoker = true`, or add `with cascaded check option`.
-- source: PostgreSQL manual, CREATE VIEW, "Updatable Views"
-- excepts: definer
-- needs: exposing-views
select distinct v.label as object, c.acting_name as role, lower(c.privilege) as action,
       format('it writes to `%s` as `%s`, %s, without a check option', r.label, e.owner, e.why) as detail,
       format('alter view %s set (security_invoker = true);', v.label) as fix
from exposed e
join relation v on v.oid = e.view and v.kind = 'view'
join relation r on r.oid = e.base
join can c on c.relation = v.oid and c.privilege in ('INSERT', 'UPDATE')
where e.filtered and (pg_relation_is_updatable(v.oid, false) & case c.privilege when 'INSERT' then 8 else 4 end) <> 0
  and not exists (select from pg_catalog.pg_class x, pg_options_to_table(x.reloptions) o where x.oid = v.oid and o.option_name = 'check_option')
