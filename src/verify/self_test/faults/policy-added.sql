-- title: a second policy opens one command
select r.label as object,
       format('create policy kinedb_open on %s for %s to %s %s', r.oid::regclass, c.privilege, c.acting::regrole,
              case c.privilege when 'INSERT' then 'with check (true)' when 'UPDATE' then 'using (true) with check (true)' else 'using (true)' end) as sql
from relation r
join (select distinct acting, relation, privilege from can where rank <= 4 and itself) c on c.relation = r.oid
where r.tenanted and r.stored and r.rls and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and not exists (select from closed x where x.acting = c.acting and x.relation = r.oid and x.privilege = c.privilege)
