-- title: a policy opens all tenants to a session in a certain state
-- severity: error
-- why: A session sets `application_name` and settings of its own as it likes: what they open is open.
-- bad: using (tenant_id = ... or current_setting('application_name') = 'reports')
-- good: create policy reports on patients for select to reports_role using (true);
-- fix: Give a role of its own to whoever may see all tenants, one that the application cannot become.
-- source: PostgreSQL manual, 5.9 Row Security Policies; 9.28.1 Configuration Settings Functions
-- excepts: bypass-setting
-- needs: ways
select r.label as object, w.acting_name as role, lower(w.privilege) as action,
       format('policy `%s`: `%s` does not look at whose row it is; whoever brings the session into that state reaches every tenant%s', w.name, w.text, min(w.via)) as detail
from way w join relation r on r.oid = w.relation
where r.tenanted
  -- A new tenant is nobody's yet.
  and not (w.privilege = 'INSERT' and r.oid is not distinct from (select (j->'tenants'->'table'->>0)::oid from scope))
  -- No session that policies bind has it, nor can set it.
  and w.settings <> '["is_superuser"]'
  and (w.kind = 'session' and not exists (select from jsonb_array_elements_text(w.settings) s join setting t on t.name = s and t.in_context)
       or w.kind = 'role' and exists (select from member m where m.acting = w.acting and w.roles ? m.name))
group by r.label, w.acting_name, w.privilege, w.name, w.text
