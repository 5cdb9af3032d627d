-- The first of these roles that this session may become, that reads the table, and that row security can bind.
select r.rolname::text
from unnest($2::text[]) with ordinality w (name, place)
join pg_catalog.pg_roles r on r.rolname = w.name
where not r.rolsuper and not r.rolbypassrls
  and pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
  and pg_catalog.has_table_privilege(r.oid, $1::regclass, 'SELECT')
order by w.place
limit 1
