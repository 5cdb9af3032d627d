-- title: every login has rights on a table of tenants
-- severity: warning
-- why: PUBLIC is every role there is and every one to come, those included to which no policy was written.
-- bad: grant select on patients to public;
-- good: grant select on patients to app;
-- fix: Grant to the roles that need it.
-- source: PostgreSQL manual, 5.8 Privileges
-- needs: public-rights
select r.label as object, 'public' as role, null as action, format('PUBLIC holds %s', string_agg(distinct a.privilege_type, ', ')) as detail,
       format('revoke all on %s from public;', r.label) as fix
from relation r
join pg_catalog.pg_class c on c.oid = r.oid
cross join lateral aclexplode(c.relacl) a
where a.grantee = 0 and r.tenanted
group by r.label
