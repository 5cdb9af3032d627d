-- title: a policy opens all tenants to a session without a tenant
-- severity: error
-- why: A session that forgot its context, or lost it at the end of a transaction, must see nothing.
-- bad: using (current_setting('app.tenant_id', true) is null or tenant_id = ...)
-- good: using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
-- fix: Remove the alternative.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- excepts: no-context
-- needs: ways
select r.label as object, w.acting_name as role, lower(w.privilege) as action,
       format('policy `%s`: `%s` holds where no tenant is set', w.name, w.text) as detail
from way w join relation r on r.oid = w.relation cross join scope
where r.tenanted and w.kind = 'session' and j->>'no_context' = 'deny'
  and exists (select from jsonb_array_elements_text(w.settings) s join setting t on t.name = s and t.in_context)
  and (w.text ~* 'is null$' or w.text ~ '= ''''' or w.text ~* '^not ' or w.text ~* 'coalesce\(')
group by r.label, w.acting_name, w.privilege, w.name, w.text
