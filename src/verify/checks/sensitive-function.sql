-- title: a function may hand out a sensitive column
-- severity: error
-- why: A SECURITY DEFINER function reads what its caller may not.
-- bad: create function user_row(uuid) returns users security definer ...
-- good: a function that returns the columns that are meant to be seen
-- fix: List the columns that it returns.
-- source: kinedb configuration, `sensitive`
-- excepts: sensitive, definer
-- needs: sensitive-columns, definers
select distinct f.label as object, c.acting_name as role, 'execute' as action,
       format('it reads `%s`, which holds the sensitive column `%s`, with the rights of `%s`', r.label, a.attname, f.owner_name) as detail,
       case when has_column_privilege(c.acting, r.oid, a.attnum, 'SELECT') then 'note' end as severity
from scope, jsonb_to_recordset(j->'relations') as s(oid int8, columns jsonb), jsonb_to_recordset(s.columns) as k(number int, sensitive boolean)
join relation r on true
join pg_catalog.pg_attribute a on a.attrelid = r.oid
join routine f on f.definer and r.oid = any (f.reads)
join callable c on c.function = f.oid
join pg_catalog.pg_class rc on rc.oid = r.oid
join pg_catalog.pg_proc p on p.oid = f.oid
where k.sensitive and r.oid = s.oid::oid and a.attnum = k.number
  and (p.prosrc ~ ('\m' || a.attname || '\M') or p.prorettype = rc.reltype
       -- As a whole: `to_jsonb(u)`.
       or p.prosrc ~* ('\m' || rc.relname || '\M')
          and p.prosrc ~* ('(?<!count)\(\s*"?(' || rc.relname || coalesce('|' || (regexp_match(p.prosrc, '\m' || rc.relname || '"?\s+(?:as\s+)?"?(\w+)', 'i'))[1], '') || ')"?(\.\*)?\s*[,)]'))
