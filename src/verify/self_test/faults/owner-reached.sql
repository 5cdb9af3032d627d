-- title: FORCE is dropped and the owner can be reached
select r.label as object,
       format('alter table %s no force row level security; grant %s to %s', r.oid::regclass, r.owner::regrole, a.oid::regrole) as sql
from relation r, (select * from acting order by name limit 1) a, pg_catalog.pg_roles o
where r.tenanted and r.stored and r.rls and r.force and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and o.oid = r.owner and not o.rolsuper and not pg_has_role(o.oid, a.oid, 'MEMBER')
