-- title: no table holds data of tenants
-- severity: error
-- why: An empty database is not proof of anything.
-- bad: a verification before the first migration
-- good: a schema with tables, and `tenant_columns` that name their key
-- fix: Run the migrations, or name the tenant's column in `kinedb.toml`.
-- source: kinedb configuration, `tenant_columns`
select current_database() as object, null as role, null as action,
       case when t.n = 0 then 'there are no tables in the schemas that were looked at'
            when not t.bound then format('%s tables were looked at: row level security is enabled on none of them and there are no policies, so the database keeps nobody''s rows from anybody', t.n)
            else format('%s tables were looked at, and none has a key that tells its tenant', t.n) end as detail,
       case when t.n = 0 then 'run the migrations, or name the schemas in `schemas` of kinedb.toml'
            when not t.bound then 'enable row level security and write policies that compare a row''s tenant with the session''s; to see table by table what is open until then, say in kinedb.toml: tenant_columns = ['
              || coalesce(to_json(k.column_name)::text, '"..."') || ']' end as fix,
       true as unproven
from (select count(*) filter (where r.stored) as n,
             coalesce(bool_or(r.rls), false) or exists (select from policy) as bound from relation r) t
-- What most tables have in common beside their own id.
left join lateral (
  select a.attname as column_name
  from relation r join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  where r.stored and a.attname ~ '(_id|Id)$'
  group by 1 order by count(*) desc, 1 limit 1) k on true
where not exists (select from relation where tenanted and stored)
