-- title: a policy opens all tenants by a part of the context
-- severity: note
-- why: Whoever fills the context decides who sees all tenants; the probes run with the declared context only.
-- bad: using (current_setting('request.jwt.claims')::json ->> 'role' = 'admin')
-- good: create policy admins on patients to admin_role using (true);
-- fix: Prefer a role of its own.
-- source: PostgreSQL manual, CREATE POLICY
-- excepts: bypass-setting
-- needs: ways
select r.label as object, w.acting_name as role, lower(w.privilege) as action,
       format('policy `%s`: `%s` is decided by the context alone', w.name, w.text) as detail
from way w join relation r on r.oid = w.relation
where r.tenanted and w.kind = 'session'
  and exists (select from jsonb_array_elements_text(w.settings) s join setting t on t.name = s and t.in_context)
  and not (w.text ~* 'is null$' or w.text ~ '= ''''' or w.text ~* '^not ' or w.text ~* 'coalesce\(')
group by r.label, w.acting_name, w.privilege, w.name, w.text
