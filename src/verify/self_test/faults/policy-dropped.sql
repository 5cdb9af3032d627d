-- title: the only policy of a table is dropped
select r.label as object, format('drop policy %I on %s', p.name, r.oid::regclass) as sql
from policy p
join relation r on r.oid = p.relation and r.tenanted and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
where p.permissive
  and exists (select from applies a join predicate q on q.policy = a.policy join can c on c.acting = a.acting and c.relation = r.oid and c.privilege = q.privilege
              where a.policy = p.oid
                and not exists (select from predicate o join applies b on b.policy = o.policy
                                where o.policy <> p.oid and o.permissive and o.relation = r.oid and o.privilege = q.privilege and b.acting = a.acting))
