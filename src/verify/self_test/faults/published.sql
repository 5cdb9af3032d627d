-- title: a table is published
-- weight: warning
select r.label as object, format('create publication kinedb_publication for table %s', r.oid::regclass) as sql, array['kinedb_publication'] as names
from relation r
where r.tenanted and r.stored and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
