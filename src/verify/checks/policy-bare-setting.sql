-- title: a policy reads the setting once per row
-- severity: note
-- why: In a sub-select it is read once per query: a scan costs 1.06 times a literal instead of 6 times.
-- bad: using (tenant_id = current_setting('app.tenant_id')::uuid)
-- good: using (tenant_id = (select current_setting('app.tenant_id')::uuid))
-- fix: Put the call into a sub-select.
-- source: kinedb measurements
-- needs: policies
select 'database' as object, null as role, null as action,
       format('%s policies on %s tables read a setting outside of a sub-select, for example `%s` on `%s`', count(distinct p.policy), count(distinct p.relation), min(p.name), min(r.label)) as detail
from predicate p join relation r on r.oid = p.relation
where r.tenanted and p.body->>'text' ~ 'current_setting\(' and p.body->>'text' !~* 'select [^;]*current_setting\('
having count(*) > 0
