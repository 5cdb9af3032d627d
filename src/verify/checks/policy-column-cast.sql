-- title: a policy casts the tenant column
-- severity: note
-- why: An index on the column cannot serve the cast: 4 times slower on a scan, hundreds of times on a lookup.
-- bad: using (tenant_id::text = current_setting('app.tenant_id'))
-- good: using (tenant_id = (select current_setting('app.tenant_id')::uuid))
-- fix: Cast the setting, not the column.
-- source: kinedb measurements; PostgreSQL manual, 11 Indexes
-- needs: other-keys
select distinct r.label as object, null as role, null as action, format('policy `%s` casts `%s`', p.name, r.key) as detail
from predicate p join relation r on r.oid = p.relation
where r.key is not null and r.key_type !~ '^(text|character)' and p.body->>'text' ~ ('\("?' || r.key || '"?\)::text')
