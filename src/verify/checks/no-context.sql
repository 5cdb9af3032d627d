-- title: it is not known how a session enters a tenant
-- severity: error
-- why: Without the way in, no session can be put into a tenant's context.
-- bad: a kinedb.toml without `context`, and policies that read no setting
-- good: context = ["select set_config('app.tenant_id', :tenant, true)"]
-- fix: Name the statements in `context`; where the role itself is the context, write `no_context = "none"`.
-- source: kinedb configuration, `context`
select current_database() as object, null as role, null as action, 'no statement was declared, and no setting was found that policies compare with the tenant' as detail, true as unproven
from scope
where j->'context' = '[]' and j->>'no_context' is distinct from 'none'
  and exists (select from jsonb_to_recordset(j->'roles') as r(context jsonb, scope text) where coalesce(r.context, 'null') = 'null' and r.scope = 'tenant')
