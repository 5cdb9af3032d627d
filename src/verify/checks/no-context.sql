-- title: it is not known how a session enters a tenant
-- severity: error
-- why: Without the way in, no session can be put into a tenant's context.
-- bad: a kinedb.toml without `context`, and policies that read no setting
-- good: context = ["select set_config('app.tenant_id', :tenant, true)"]
-- fix: Name the statements in `context`; where the role itself is the context, write `no_context = "none"`.
-- source: kinedb configuration, `context`
select current_database() as object, null as role, null as action, 'no statement was declared, and no setting was found that policies compare with the tenant' as detail, null as fix, true as unproven
from scope
where j->'context' = '[]' and j->>'no_context' is distinct from 'none'
  and exists (select from jsonb_to_recordset(j->'roles') as r(context jsonb, scope text) where coalesce(r.context, 'null') = 'null' and r.scope = 'tenant')
  -- Without tenants and policies there is nothing to enter.
  and (exists (select from policy) or exists (select from relation where tenanted and stored))
union all
-- The role is the context, and of this one nothing tells whose it is.
select a.name, a.name, null, format('policies compare rows with who is connected, and nothing tells for which tenant `%s` acts', a.name),
       format(E'say in kinedb.toml:\n[isolation]\nno_context = "none"\n\n[[isolation.role]]\nquery = \'%s\'',
              coalesce(l.query, 'select ROLE::text from TABLE where TENANT::text = :tenant')), true
from scope
cross join lateral jsonb_to_recordset(j->'roles') as a(name text, scope text, tenant text)
left join lateral (
  -- The list of logins: what a policy's function that asks who is connected reads, or a policy itself.
  select min(format('select %I::text from %I.%I where %I::text = :tenant', w.attname, n.nspname, c.relname, k.attname)) as query
  from (select x as base from guard g join routine f on f.oid = g.function and f.session cross join lateral unnest(f.reads) x
        union select x::oid from predicate p cross join lateral jsonb_array_elements_text(p.body->'reads') x) b
  join pg_catalog.pg_class c on c.oid = b.base
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute w on w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped and w.atttypid in ('pg_catalog.name'::regtype, 'pg_catalog.text'::regtype)
    and w.attname ~* '(login|role|user|member|account)'
  join pg_catalog.pg_attribute k on k.attrelid = c.oid and k.attnum > 0 and k.attname <> w.attname and k.attname in (select r.key from relation r where r.tenanted)) l on true
where a.scope = 'tenant' and a.tenant = ''
