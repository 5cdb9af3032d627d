-- title: the application may change rows that it may not read
-- severity: error
-- why: An update or delete that names a row needs SELECT: without it the tenant cannot work with its own rows.
-- bad: revoke select on appointments from app;
-- good: grant select on appointments to app;
-- fix: Grant SELECT, or revoke UPDATE and DELETE.
-- source: PostgreSQL manual, GRANT
-- excepts: hidden-rows, insert-only
-- needs: roles
select r.label as object, c.acting_name as role, 'select' as action,
       format('`%s` may %s but not select', c.acting_name, string_agg(lower(c.privilege), ' and ' order by c.rank)) as detail,
       format('grant select on %s to %I;', r.label, c.acting_name) as fix, true as unproven
from can c join relation r on r.oid = c.relation join acting a on a.oid = c.acting
where r.tenanted and r.stored and c.rank in (3, 4) and a.scope = 'tenant' and c.itself
  and not exists (select from can s where s.acting = c.acting and s.relation = c.relation and s.privilege = 'SELECT')
group by r.label, c.acting_name
