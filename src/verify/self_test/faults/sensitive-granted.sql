-- title: a role may read a sensitive column
select r.label as object, format('grant select (%I) on %s to %s', a.attname, r.oid::regclass, m.oid::regrole) as sql,
       array[r.label || '.' || a.attname] as names
from scope, jsonb_to_recordset(j->'relations') as s(oid int8, columns jsonb), jsonb_to_recordset(s.columns) as k(number int, sensitive boolean), relation r, pg_catalog.pg_attribute a,
     (select * from acting where scope = 'tenant' order by name limit 1) m
where k.sensitive and r.oid = s.oid::oid and a.attrelid = r.oid and a.attnum = k.number and not has_column_privilege(m.oid, r.oid, a.attnum, 'SELECT')
