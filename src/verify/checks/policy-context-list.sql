-- title: the context may name several tenants at once
-- severity: error
-- why: Where a policy takes the setting apart, one value opens as many tenants as it lists.
-- bad: using (tenant_id::text = any (string_to_array(current_setting('app.tenant_id'), ',')))
-- good: using (tenant_id = current_setting('app.tenant_id')::uuid)
-- fix: Compare with one tenant; membership of many belongs into a table.
-- source: PostgreSQL manual, 9.4 String Functions
-- needs: splitting-policies, roles
select distinct r.label as object, null as role, 'select' as action,
       format('policy `%s` takes the setting `%s` apart: `%s`', p.name, t.taken[3], b.text) as detail,
       -- A setting that is named for several is meant to hold several.
       case when t.taken[3] ~* '(ids|list|(tenant|org|account|team|workspace|customer|compan|clinic)\w*s)' then 'note' end as severity
from predicate p join relation r on r.oid = p.relation
cross join lateral (select p.body->>'text' as text) b
cross join lateral regexp_matches(b.text, '(string_to_array|regexp_split_to_array|regexp_split_to_table|string_to_table|unnest|strpos|starts_with)\(\(*(NULLIF\()?\(*current_setting\(''([^'']+)', 'gi') as t(taken)
where p.permissive and r.tenanted
  -- One that narrows within a tenant may hold as many as it likes.
  and (exists (select from setting s where s.name = lower(t.taken[3]) and s.in_context
                 and not exists (select from scope, jsonb_array_elements_text(j->'context') x where position(s.name in lower(x)) > 0 and x !~ ':tenant'))
       or not exists (select from setting s where s.in_context))
  and exists (select from can x where x.relation = r.oid)
