-- title: no role of the application reaches any table of tenants
-- severity: error
-- why: Where nothing can be reached nothing is proven: grants or names are wrong.
-- bad: a role without grants
-- good: grant select on patients to app;
-- fix: Grant the role its rights, or USAGE on the schema, or name the right role, or its `schemas`.
-- source: kinedb configuration, `role`
select a.name as object, a.name as role, null as action,
       case when s.names is null then format('`%s` has no rights on any table or view', a.name)
            else format('`%s` has rights on tables, but may not use the schema %s', a.name, s.names) end as detail, true as unproven
from acting a
cross join lateral (
  select string_agg(distinct format('`%s`', r.schema::regnamespace), ', ') as names
  from relation r
  where r.tenanted and not has_schema_privilege(a.oid, r.schema, 'USAGE') and has_any_column_privilege(a.oid, r.oid, 'SELECT, INSERT, UPDATE')) s
where a.scope = 'tenant'
  and not exists (select from can c join relation r on r.oid = c.relation
                  where c.acting = a.oid and (s.names is null or r.tenanted or not r.stored))
  and not exists (select from member m where m.acting = a.oid and (m.unbound or m.oid in (select owner from relation)))
