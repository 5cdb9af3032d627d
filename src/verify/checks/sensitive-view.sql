-- title: a view shows a sensitive column
-- severity: error
-- why: The view carries the column to everyone who may read the view.
-- bad: create view api_users as select id, email, password_hash from users;
-- good: create view api_users as select id, email from users;
-- fix: Take the column out of the view.
-- source: kinedb configuration, `sensitive`
-- excepts: sensitive
-- needs: sensitive-columns, view-rights
select v.label as object, c.acting_name as role, 'select' as action,
       format('it shows %s of `%s`; `%s` may read it%s', string_agg(distinct '`' || a.attname || '`', ', '), r.label, c.acting_name, min(c.via)) as detail,
       case when bool_and(has_column_privilege(c.member, r.oid, a.attnum, 'SELECT')) then 'note' end as severity
from scope, jsonb_to_recordset(j->'relations') as s(oid int8, columns jsonb), jsonb_to_recordset(s.columns) as k(number int, sensitive boolean)
join relation r on true
join pg_catalog.pg_attribute a on a.attrelid = r.oid
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = r.oid
join pg_catalog.pg_rewrite w on w.oid = d.objid and w.ev_type = '1'
join relation v on v.oid = w.ev_class
join can c on c.relation = v.oid and c.privilege = 'SELECT'
join pg_catalog.pg_class b on b.oid = r.oid
cross join lateral (select regexp_replace(pg_get_viewdef(v.oid), '\mcount\(\w+\.\*\)|\.\* IS (NOT )?NULL', '', 'g') as t) t
where k.sensitive and r.oid = s.oid::oid and a.attnum = k.number
  and (d.refobjsubid = a.attnum
       and (exists (select from pg_catalog.pg_attribute o where o.attrelid = v.oid and o.attname = a.attname and has_column_privilege(c.member, v.oid, o.attnum, 'SELECT'))
            or t.t ~ ('\m' || a.attname || '\M"? *(AS|,|\)|$)'))
       -- As a whole: `to_jsonb(p.*)`.
       or t.t ~ ('\m' || b.relname || '\.\*')
       or t.t ~ ('\m' || coalesce((regexp_match(t.t, '\m' || b.relname || ' (\w+)'))[1], b.relname) || '\.\*'))
group by v.label, r.label, c.acting_name
