-- title: a table without row level security decides which rows tenants share
-- severity: warning
-- why: What it lists is open to the tenants it names, and every tenant may read who shares with whom.
-- bad: using (exists (select from shares s where s.patient_id = patients.id and s.to_tenant = ...))
-- good: the same, with row level security on `shares`
-- fix: Guard the table with policies of its own, and declare the sharing as an exception.
-- source: PostgreSQL manual, CREATE POLICY
-- excepts: shared-rows
-- needs: reading-policies, roles
select distinct r.label as object, c.acting_name as role, 'select' as action,
       format('policy `%s` shares rows by `%s`, which `%s` may read whole%s', p.name, s.label, c.acting_name, c.via) as detail
from predicate p
join relation r on r.oid = p.relation and r.tenanted
cross join lateral jsonb_array_elements_text(p.body->'reads') x(base)
join relation s on s.oid = x.base::oid and s.stored and not s.rls and s.key_kind <> 'global'
join can c on c.relation = s.oid and c.privilege = 'SELECT'
where p.permissive
