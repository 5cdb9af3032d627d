-- title: a role that reads all tenants may do more than was declared
-- severity: error
-- why: A role of scope `all` reads the columns listed and writes nothing.
-- bad: grant select on patients to reports;  -- columns = ["patients.id"]
-- good: grant select (id) on patients to reports;
-- fix: Revoke what is not declared, or declare it.
-- source: kinedb configuration, `scope = "all"`
-- needs: roles-of-all
select r.label as object, m.acting_name as role, 'select' as action,
       format('`%s` may read %s columns that are not declared, for example `%s`%s', m.name, count(*), min(a.attname), m.via) as detail
from member m
join relation r on r.tenanted and has_schema_privilege(m.oid, r.schema, 'USAGE')
join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped and has_column_privilege(m.oid, r.oid, a.attnum, 'SELECT')
where m.scope = 'all' and not m.unbound
  and not exists (select from scope, jsonb_to_recordset(j->'roles') as q(oid int8, columns jsonb), jsonb_array_elements(q.columns) c
                  where q.oid::oid = m.acting and (c->>0)::oid = r.oid and (c->>1)::int = a.attnum)
group by r.label, m.acting_name, m.name, m.via
union all
select r.label, c.acting_name, lower(min(c.privilege)), format('`%s` may %s', c.acting_name, string_agg(distinct lower(c.privilege), ', '))
from can c join relation r on r.oid = c.relation join acting a on a.oid = c.acting and a.scope = 'all'
where c.rank between 2 and 5 and r.tenanted
  and (not r.rls or exists (select from allowed x where x.acting = c.acting and x.relation = r.oid and x.privilege = c.privilege))
group by r.label, c.acting_name
