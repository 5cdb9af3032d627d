-- title: policies read another setting than the context sets
-- severity: error
-- why: The tenant's own rows are invisible, and whoever sets the other setting chooses the tenant.
-- bad: using (tenant_id = current_setting('app.current_tenant')::uuid)  -- the context sets app.tenant_id
-- good: using (tenant_id = current_setting('app.tenant_id')::uuid)
-- fix: Use one setting everywhere, or name the other one in `context`.
-- source: kinedb configuration, `context`
-- needs: roles
select r.label as object, null as role, 'select' as action,
       format('its policies read %s, which the context does not set', string_agg(distinct format('`%s`', s), ', ')) as detail, true as unproven
from predicate p join relation r on r.oid = p.relation
cross join lateral jsonb_array_elements_text(p.body->'settings') s
where r.tenanted and p.permissive and exists (select from setting where in_context)
  and exists (select from can x where x.relation = r.oid)
group by r.oid, r.label
having not exists (select from predicate q, jsonb_array_elements_text(q.body->'settings') x join setting t on t.name = x and t.in_context where q.relation = r.oid)
union all
-- What the client fills in by itself: its name, and over HTTP headers, cookies, its own metadata in the token.
select r.label, null, 'select', format('policy `%s` reads %s, which the client chooses', p.name, string_agg(distinct format('`%s`', x.what), ', ')), null
from predicate p join relation r on r.oid = p.relation
cross join lateral (
  select s as what from jsonb_array_elements_text(p.body->'settings') s where s ~ '^(request\.(header|cookie|path|method|query)|application_name$)'
  union all
  select 'user_metadata' where p.body->>'text' ~ 'user_meta_?data'
     or exists (select from jsonb_array_elements_text(p.body->'functions') f join routine u on u.oid = f::oid where coalesce(nullif(u.prosrc, ''), pg_get_function_sqlbody(u.oid)) ~ 'user_meta_?data')) x
where r.tenanted and p.permissive and exists (select from can y where y.relation = r.oid)
group by r.oid, r.label, p.name
