-- title: the application can become a role that reaches other tenants
-- severity: error
-- why: A membership is enough for SET ROLE: what is meant for that role alone is then open to this one.
-- bad: grant tenant_b to tenant_a;
-- good: revoke tenant_b from tenant_a;
-- fix: Revoke the membership; let a login without rights of its own be a member of both.
-- source: PostgreSQL manual, 22.3 Role Membership
-- needs: other-roles
select o.name as object, a.name as role, null as action,
       case when o.scope = 'trusted' then format('`%s` can become `%s`, which is trusted with all tenants', a.name, o.name)
            else format('`%s` is the role of tenant `%s` and can become `%s`, the role of tenant `%s`', a.name, a.tenant, o.name, o.tenant) end as detail,
       format('revoke %I from %I;', o.name, a.name) as fix,
       format('set session authorization %I; set role %I;', a.name, o.name) as reproduce,
       array['select', 'insert', 'update', 'delete'] as actions, '*' as cells
from scope
cross join lateral jsonb_to_recordset(j->'roles') as a(oid int8, name text, scope text, tenant text)
cross join lateral jsonb_to_recordset(j->'roles') as o(oid int8, name text, login text, scope text, tenant text)
where a.scope <> 'trusted' and a.oid <> o.oid
  and (o.scope = 'trusted' and o.login is distinct from a.name or a.tenant <> o.tenant)
  and (pg_has_role(a.oid::oid, o.oid::oid, 'USAGE')
       or pg_has_role(a.oid::oid, o.oid::oid, case when (j->>'server_version')::int >= 160000 then 'SET' else 'MEMBER' end))
