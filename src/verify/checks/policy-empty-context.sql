-- title: a session whose context was reset gets an error instead of no rows
-- severity: error
-- why: After a transaction that set it locally, a setting reads as an empty string. The two-argument form returns NULL before and an empty string after, and the cast of that fails: the same query works in a fresh session and fails in a used one.
-- bad: using (tenant_id = current_setting('app.tenant_id', true)::uuid)
-- good: using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
-- fix: Wrap the setting in `nullif(.., '')`, or use the one-argument form, which fails always.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- needs: casting-policies, roles
select distinct r.label as object, null as role, 'select' as action,
       format('policy `%s` casts the setting to `%s` without `nullif`', p.name, m.m[2]) as detail, true as unproven,
       -- Where nothing reads the setting with `nullif`, an error is the schema's own way to say no.
       case when not exists (select from predicate q where q.body->>'text' ~* ('nullif\(current_setting\(''' || m.m[1] || ''''))
             and not exists (select from routine f where m.m[1] = any (f.settings) and coalesce(nullif(f.prosrc, ''), pg_get_function_sqlbody(f.oid)) ~* 'nullif\s*\(') then 'note' end as severity
from predicate p join relation r on r.oid = p.relation
cross join lateral regexp_match(p.body->>'text', '\(current_setting\(''([^'']+)''::text, true\)\)::(uuid|integer|bigint|smallint|numeric)') m(m)
where p.permissive and r.tenanted and m.m is not null
  and exists (select from can x where x.relation = r.oid)
