-- title: a table is granted to every login
-- weight: warning
select r.label as object, format('grant select on %s to public', r.oid::regclass) as sql
from relation r
where r.tenanted and r.stored and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and not exists (select from pg_catalog.pg_class c, aclexplode(c.relacl) x where c.oid = r.oid and x.grantee = 0)
