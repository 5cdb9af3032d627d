-- title: a policy lets every row through
select r.label as object, format('alter policy %I on %s using (true)', p.name, r.oid::regclass) as sql
from policy p
join relation r on r.oid = p.relation and r.tenanted and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
where p.permissive and jsonb_typeof(p."using") = 'object'
  and exists (select from predicate q join applies a on a.policy = q.policy
              join can c on c.acting = a.acting and c.relation = r.oid and c.privilege = q.privilege
              where q.policy = p.oid and q.part = 'using'
                and not exists (select from closed x where x.acting = a.acting and x.relation = r.oid and x.privilege = q.privilege and x.part = 'using'))
