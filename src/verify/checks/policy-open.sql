-- title: a policy lets rows of other tenants through
-- severity: error
-- why: Permissive policies are joined by OR: one alternative that does not compare the row with the session's tenant is enough, also one that no row matches today.
-- bad: create policy vip on patients for select using (status = 'vip');
-- good: create policy vip on patients as restrictive for select using (status = 'vip');
-- fix: Compare the tenant column in every alternative, put brackets around OR, or make the policy restrictive.
-- source: PostgreSQL manual, CREATE POLICY, "Application of Multiple Policies"
-- needs: ways
select r.label as object, w.acting_name as role, lower(w.privilege) as action,
       format('policy `%s`%s: `%s` holds for rows of any tenant%s', w.name,
              case when w.part = 'check' then ' accepts new rows' else '' end, string_agg(distinct w.text, '` or `'), min(w.via)) as detail,
       format('alter policy %I on %s %s (... and the tenant column compared with the session);', w.name, r.label, case when w.part = 'check' then 'with check' else 'using' end) as fix
from way w join relation r on r.oid = w.relation
where r.tenanted and w.kind in ('true', 'row', 'table')
group by r.label, w.acting_name, w.privilege, w.name, w.part
