-- title: a role may change an append-only table
select r.label as object, format('grant %s on %s to %s', p, r.oid::regclass, a.oid::regrole) as sql
from relation r, (select * from acting where scope = 'tenant' order by name limit 1) a, unnest(array['update', 'delete']) p
where r.append_only and not has_table_privilege(a.oid, r.oid, p)
