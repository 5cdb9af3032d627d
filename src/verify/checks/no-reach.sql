-- title: no role of the application reaches any table of tenants
-- severity: error
-- why: Where nothing can be reached nothing is proven: grants or names are wrong.
-- bad: a role without grants
-- good: grant select on patients to app;
-- fix: Grant the role its rights, or name the right role, or its `schemas`.
-- source: kinedb configuration, `role`
select a.name as object, a.name as role, null as action, format('`%s` has no rights on any table or view', a.name) as detail, true as unproven
from acting a
where a.scope = 'tenant'
  and not exists (select from can c where c.acting = a.oid) and not exists (select from member m where m.acting = a.oid and (m.unbound or m.oid in (select owner from relation)))
