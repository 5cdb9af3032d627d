-- title: a session whose context was reset gets an error instead of no rows
-- severity: error
-- why: After a transaction that set it locally, a setting reads as an empty string. The two-argument form returns NULL before and an empty string after, and the cast of that fails: the same query works in a fresh session and fails in a used one.
-- bad: using (tenant_id = current_setting('app.tenant_id', true)::uuid)
-- good: using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
-- fix: Wrap the setting in `nullif(.., '')`, or use the one-argument form, which fails always.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- needs: casting-policies, roles
with texts as materialized (
  -- Each text is read once: a thousand policies that say the same, each compared with all, are a million texts.
  select distinct q.body->>'text' as text from predicate q
),
matched as materialized (
  select t.text, m.m[1] as setting, m.m[2] as type
  from texts t
  cross join lateral regexp_match(t.text, '\(current_setting\(''([^'']+)''::text, true\)\)::(uuid|integer|bigint|smallint|numeric)') m(m)
  where m.m is not null
),
casting as materialized (
  select distinct p.relation, p.name, m.setting, m.type
  from predicate p join matched m on m.text = p.body->>'text'
  where p.permissive
),
guarded as materialized (
  select c.setting, exists (select from texts t where t.text ~* ('nullif\(current_setting\(''' || c.setting || ''''))
      or exists (select from routine f where c.setting = any (f.settings) and coalesce(nullif(f.prosrc, ''), pg_get_function_sqlbody(f.oid)) ~* 'nullif\s*\(') as so
  from (select distinct setting from casting) c
)
select distinct r.label as object, null as role, 'select' as action,
       format('policy `%s` casts the setting to `%s` without `nullif`', p.name, p.type) as detail, true as unproven,
       -- Where nothing reads the setting with `nullif`, an error is the schema's own way to say no.
       case when not g.so then 'note' end as severity
from casting p join relation r on r.oid = p.relation join guarded g on g.setting = p.setting
where r.tenanted and exists (select from can x where x.relation = r.oid)
