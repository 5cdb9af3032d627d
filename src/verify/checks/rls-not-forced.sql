-- title: row level security does not bind the table's owner
-- severity: warning
-- why: Without FORCE, views and SECURITY DEFINER functions of the owner see all tenants: the next one that is written is a hole.
-- bad: alter table patients enable row level security;
-- good: alter table patients enable row level security; alter table patients force row level security;
-- fix: `alter table ... force row level security`.
-- source: PostgreSQL manual, ALTER TABLE ... FORCE ROW LEVEL SECURITY
-- needs: unforced
select r.label as object, null as role, 'row level security is on, but its owner is not bound by it' as detail,
       format('alter table %s force row level security;', r.label) as fix,
       -- A helper of the policies must read past them, and FORCE binds no superuser: there it is meant or moot.
       case when o.rolsuper or o.rolbypassrls
              or exists (select from guard g join routine f on f.oid = g.function where f.definer and f.owner = r.owner and r.oid = any (f.reads)) then 'note' end as severity
from relation r join pg_catalog.pg_roles o on o.oid = r.owner
where r.tenanted and r.stored and r.rls and not r.force
  and exists (select from can c where c.relation = r.oid)
