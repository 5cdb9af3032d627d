-- title: a view runs as an owner whom nothing binds
select v.label as object, format('alter view %s reset (security_invoker); alter view %s owner to %s', v.oid::regclass, v.oid::regclass, u.rolname::regrole) as sql
from relation v, (select rolname::text from pg_catalog.pg_roles where rolname = current_user and (rolsuper or rolbypassrls)) u
where v.kind = 'view'
  and exists (select from can c where c.relation = v.oid and c.privilege = 'SELECT')
  and exists (select from walk w join relation r on r.oid = w.base and r.tenanted and r.stored and r.rls where w.root = v.oid)
  and not exists (select from exposed e where e.view = v.oid)
  and pg_get_viewdef(v.oid) !~ 'current_setting\('
