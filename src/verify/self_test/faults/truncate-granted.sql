-- title: a role may truncate a table
select r.label as object, format('grant truncate on %s to %s', r.oid::regclass, a.oid::regrole) as sql
from relation r, (select * from acting order by name limit 1) a
where r.tenanted and r.stored and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and not has_table_privilege(a.oid, r.oid, 'TRUNCATE')
