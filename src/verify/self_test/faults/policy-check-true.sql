-- title: a policy accepts every new row
select r.label as object, format('alter policy %I on %s with check (true)', p.name, r.oid::regclass) as sql
from policy p
join relation r on r.oid = p.relation and r.tenanted and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
where p.permissive and p.command in ('*', 'a', 'w')
  and exists (select from predicate q join applies a on a.policy = q.policy
              join can c on c.acting = a.acting and c.relation = r.oid and c.privilege = q.privilege
              where q.policy = p.oid and q.part = 'check'
                and not exists (select from closed x where x.acting = a.acting and x.relation = r.oid and x.privilege = q.privilege and x.part = 'check'))
