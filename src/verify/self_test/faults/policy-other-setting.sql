-- title: a policy reads another setting than the context sets
select r.label as object,
       format('alter policy %I on %s using (%s)', p.name, r.oid::regclass, replace(p."using"->>'text', quote_literal(s.name), '''kinedb.other''')) as sql
from policy p
join relation r on r.oid = p.relation and r.tenanted and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
join setting s on s.in_context and position(quote_literal(s.name) in p."using"->>'text') > 0
where p.permissive
  and exists (select from applies a join can c on c.acting = a.acting and c.relation = r.oid and c.privilege = 'SELECT' where a.policy = p.oid and p.command in ('*', 'r'))
