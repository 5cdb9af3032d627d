-- Who may do what: one line per object and grantee. An owner who holds what owners hold is no line.
, listed (object, parent, acl, kind, owner) as (
  select r.object, null::text, r.relacl, case r.relkind when 'S' then 's' else 'r' end, r.relowner from rels r where r.relkind <> 'c'
  union all
  select 'column ' || r.name || '.' || quote_ident(a.attname), r.object, a.attacl, 'c', r.relowner
  from rels r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped where a.attacl is not null
  union all select f.object, null, f.proacl, 'f', f.proowner from funs f
  union all select t.object, null, t.typacl, 'T', t.typowner from typs t
  union all select 'schema ' || quote_ident(s.nspname), null, s.nspacl, 'n', s.nspowner from spaces s
  union all select 'database', null, d.datacl, 'd', d.datdba from pg_database d where d.datname = current_database()
  union all select 'language ' || quote_ident(l.lanname), null, l.lanacl, 'l', l.lanowner from pg_language l where l.lanispl
  union all select 'foreign data wrapper ' || quote_ident(w.fdwname), null, w.fdwacl, 'F', w.fdwowner from pg_foreign_data_wrapper w
  union all select 'foreign server ' || quote_ident(s.srvname), null, s.srvacl, 'S', s.srvowner from pg_foreign_server s
), held as (
  select l.object, l.parent, a.grantee, l.owner, l.kind,
    string_agg(lower(a.privilege_type) || case when a.is_grantable then ' with grant option' else '' end
      || case when a.grantor <> l.owner then ' by ' || a.grantor::regrole else '' end, ', ' order by a.privilege_type, a.grantor::regrole::text) as value
  from listed l
  cross join lateral aclexplode(coalesce(l.acl, case when l.kind <> 'c' then acldefault(l.kind::"char", l.owner) end)) a
  group by l.object, l.parent, a.grantee, l.owner, l.kind
), whole as (
  select k.kind, (select string_agg(lower(a.privilege_type), ', ' order by a.privilege_type)
    from aclexplode(acldefault(k.kind::"char", 10)) a where a.grantee = 10) as value
  from unnest(array['r', 's', 'f', 'T', 'n', 'd', 'l', 'F', 'S']) k (kind)
)
select h.object, h.parent, 'grants to ' || case when h.grantee = 0 then 'public' when h.grantee = h.owner then 'its owner' else h.grantee::regrole::text end, h.value
from held h left join whole w on w.kind = h.kind
where h.grantee <> h.owner or h.value is distinct from w.value
union all
-- An owner who gave everything away leaves no entry at all.
select l.object, l.parent, 'grants to its owner', 'none'
from listed l
where l.acl is not null and l.kind <> 'c'
  and not exists (select from aclexplode(l.acl) a where a.grantee = l.owner)
union all
select 'default privileges of ' || d.defaclrole::regrole::text || coalesce(' in schema ' || quote_ident(n.nspname), ''), null,
  format('%s granted to %s', case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end,
    case when a.grantee = 0 then 'public' when a.grantee = d.defaclrole then 'itself' else a.grantee::regrole::text end),
  string_agg(lower(a.privilege_type) || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type)
from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
cross join lateral aclexplode(d.defaclacl) a
group by d.defaclrole, n.nspname, d.defaclobjtype, a.grantee
union all
-- A default that takes the public's right away leaves nothing to list but itself.
select 'default privileges of ' || d.defaclrole::regrole::text, null,
  format('%s granted to public', case d.defaclobjtype when 'f' then 'functions' else 'types' end), 'nothing'
from pg_default_acl d
where d.defaclnamespace = 0 and d.defaclobjtype in ('f', 'T') and not exists (select from aclexplode(d.defaclacl) a where a.grantee = 0)
