-- Roles that this database knows: what they may be, and what they belong to. They are the whole cluster's.
select r.object, null::text as parent, v.attribute, v.value
from named_roles n join pg_roles r0 on r0.oid = n.oid
cross join lateral (select n.object) r
cross join lateral (values
  ('superuser', case when r0.rolsuper then 'yes' else 'no' end),
  ('bypasses row security', case when r0.rolbypassrls then 'yes' else 'no' end),
  ('creates roles', case when r0.rolcreaterole then 'yes' else 'no' end),
  ('creates databases', case when r0.rolcreatedb then 'yes' else 'no' end),
  ('replicates', case when r0.rolreplication then 'yes' else 'no' end),
  ('logs in', case when r0.rolcanlogin then 'yes' else 'no' end),
  ('inherits', case when r0.rolinherit then 'yes' else 'no' end),
  ('connections', nullif(r0.rolconnlimit, -1)::text),
  ('valid until', r0.rolvaliduntil::text),
  ('comment', shobj_description(r0.oid, 'pg_authid'))
) v (attribute, value)
where r0.rolname !~ '^pg_' and v.value is not null
union all
select n.object, null, 'member of ' || quote_ident(g.rolname),
  -- 16 and newer: one membership per grantor, each with its own options.
  concat_ws(', ', case when bool_or(coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r0.rolinherit)) then 'inherits' end,
    case when bool_or(coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)) then 'may become it' end,
    case when bool_or(m.admin_option) then 'may grant it' end)
from pg_auth_members m join named_roles n on n.oid = m.member join pg_roles g on g.oid = m.roleid join pg_roles r0 on r0.oid = m.member
group by 1, g.rolname
union all
select n.object, null, 'setting ' || split_part(c, '=', 1),
  case when split_part(c, '=', 1) ~* '(secret|password|token|key)' then '(hidden)' else substr(c, strpos(c, '=') + 1) end
from pg_db_role_setting d join named_roles n on n.oid = d.setrole cross join unnest(d.setconfig) c
where d.setdatabase = 0
union all
select n.object, null, 'parameter ' || p.parname, string_agg(lower(a.privilege_type) || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
from pg_parameter_acl p cross join lateral aclexplode(p.paracl) a join named_roles n on n.oid = a.grantee
group by 1, 3
