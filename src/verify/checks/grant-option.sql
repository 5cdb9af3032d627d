-- title: the application may hand its rights on
-- severity: error
-- why: With a grant option it gives the table to any other role, PUBLIC included, and so to roles that no policy binds.
-- bad: grant select on patients to app with grant option;
-- good: grant select on patients to app;
-- fix: Revoke the grant option.
-- source: PostgreSQL manual, GRANT
-- needs: grant-options, roles
select r.label as object, m.acting_name as role, null as action,
       format('`%s` holds %s with grant option%s', m.name, string_agg(distinct a.privilege_type, ', '), m.via) as detail,
       format('revoke grant option for all on %s from %I;', r.label, m.name) as fix,
       format('begin; set local role %I; grant select on %s to public; rollback;', m.name, r.label) as reproduce
from relation r
join pg_catalog.pg_class c on c.oid = r.oid
cross join lateral (select * from aclexplode(c.relacl) union all
                    select x.* from pg_catalog.pg_attribute t, aclexplode(t.attacl) x where t.attrelid = r.oid and t.attacl is not null) a
join member m on m.oid = a.grantee and not m.unbound and m.oid <> r.owner
where a.is_grantable and r.key_kind <> 'global'
group by r.label, m.acting_name, m.name, m.via
union all
-- Who administers a role hands its rights on as a whole.
select g.rolname, m.acting_name, null, format('`%s` may make any other role a member of it (admin option)%s', m.name, m.via),
       format('revoke admin option for %I from %I;', g.rolname, m.name), null
from member m
join pg_catalog.pg_auth_members a on a.member = m.oid and a.admin_option
join pg_catalog.pg_roles g on g.oid = a.roleid
where not m.unbound and exists (select from can c where c.member = g.oid or c.acting = m.acting and pg_has_role(g.oid, c.member, 'USAGE'))
