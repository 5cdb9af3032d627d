-- title: a sensitive column is readable
-- severity: error
-- why: What was declared sensitive must not reach the application, not even of the own tenant.
-- bad: grant select on users to app;  -- with password_hash
-- good: grant select (id, email) on users to app;
-- fix: Grant the other columns one by one. Where a role also writes the column as part of a whole table this is a note; `strict = ["sensitive-column"]` makes it an error, which is what most schemas want.
-- source: kinedb configuration, `sensitive`; PostgreSQL manual, GRANT
-- excepts: sensitive
-- needs: sensitive-columns, roles
select r.label as object, m.acting_name as role, 'select' as action,
       format('`%s` may read %s%s', m.name, string_agg('`' || a.attname || '`' || case when a.attnum <> k.number then format(', which is made of `%s`', b.attname) else '' end, ', ' order by a.attnum), m.via) as detail,
       format('revoke select on %s from %I; grant select (...) on %s to %I;', r.label, m.name, r.label, m.name) as fix,
       -- A role that writes the column as part of the whole table keeps it: reading it back is its own
       -- business, unless the configuration makes this check strict.
       case when bool_and(has_table_privilege(m.oid, r.oid, 'SELECT') and has_column_privilege(m.oid, r.oid, a.attnum, 'UPDATE')) then 'note' end as severity
from scope, jsonb_to_recordset(j->'relations') as s(oid int8, columns jsonb), jsonb_to_recordset(s.columns) as k(number int, sensitive boolean)
join relation r on true
join pg_catalog.pg_attribute a on a.attrelid = r.oid
join pg_catalog.pg_attribute b on b.attrelid = r.oid and b.attnum = k.number
join member m on not m.unbound and m.scope <> 'trusted' and has_schema_privilege(m.oid, r.schema, 'USAGE')
where k.sensitive and r.oid = s.oid::oid
  -- What is generated from it says as much.
  and (a.attnum = k.number or a.attgenerated <> '' and exists (
         select from pg_catalog.pg_attrdef x join pg_catalog.pg_depend g on g.classid = 'pg_catalog.pg_attrdef'::regclass and g.objid = x.oid
         where x.adrelid = r.oid and x.adnum = a.attnum and g.refclassid = 'pg_catalog.pg_class'::regclass and g.refobjid = r.oid and g.refobjsubid = k.number))
  and not pg_has_role(m.oid, r.owner, 'USAGE')
  and has_column_privilege(m.oid, r.oid, a.attnum, 'SELECT')
group by r.label, m.acting_name, m.name, m.via
