-- title: a view runs as its owner
-- severity: note
-- why: Row security binds the owner today, so the view shows one tenant. FORCE off, another owner, or BYPASSRLS for him, and it shows all of them, with no change to the view.
-- bad: create view api_patients as select * from patients;
-- good: create view api_patients with (security_invoker = true) as select * from patients;
-- fix: Set `security_invoker = true`; make it a rule with `strict = ["view-owner-run"]`.
-- source: PostgreSQL manual, CREATE VIEW
-- excepts: definer
-- needs: views, view-rights
select v.label as object, c.acting_name as role, 'select' as action,
       format('it reads `%s` as `%s`, whom row security binds', r.label, o.rolname) as detail,
       format('alter view %s set (security_invoker = true);', v.label) as fix
from walk w
join relation v on v.oid = w.root and v.kind = 'view'
join relation r on r.oid = w.base and r.tenanted and r.stored
join pg_catalog.pg_roles o on o.oid = w.runs_as
join can c on c.relation = v.oid and c.privilege = 'SELECT'
where not exists (select from free f where f.role = w.runs_as and f.relation = w.base)
group by v.label, c.acting_name, r.label, o.rolname
