-- title: tenants' tables refer to large objects, which have no tenant
-- severity: error
-- why: Large objects belong to the role that made them. All tenants act as one role, so each reads and changes all of them.
-- bad: attachment oid
-- good: attachment bytea
-- fix: Keep the bytes in a column; policies bind it.
-- source: PostgreSQL manual, 35 Large Objects
-- needs: large-object-columns, roles
select r.label as object, c.acting_name as role, 'select' as action,
       format('`%s` is of type `%s`, and `%s` may call lo_get', a.attname, t.typname, c.acting_name) as detail
from relation r
join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
join pg_catalog.pg_type t on t.oid = a.atttypid and t.typname in ('oid', 'lo')
join can c on c.relation = r.oid and c.privilege = 'SELECT' and has_function_privilege(c.member, 'pg_catalog.lo_get(oid)', 'EXECUTE')
where r.tenanted and r.stored
group by r.label, a.attname, t.typname, c.acting_name
