-- What the verifier may not do and the proof needs: ('role' or 'table', its name, the GRANT).
select 'role', a.name, pg_catalog.format('grant %I to %I;', a.login, current_user)
from unnest($1::text[], $2::text[]) as a(name, login)
join pg_catalog.pg_roles r on r.rolname = a.login
where not case when pg_catalog.current_setting('server_version_num')::int >= 160000
          then pg_catalog.pg_has_role(current_user, r.oid, 'SET')
          else pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER') end
union all
select 'table', t.label, pg_catalog.format('grant select, insert on %s to %I;', t.name, current_user)
from unnest($3::oid[], $4::text[], $5::text[]) as t(oid, label, name)
join pg_catalog.pg_class c on c.oid = t.oid
where not pg_catalog.has_table_privilege(c.oid, 'SELECT') or not pg_catalog.has_table_privilege(c.oid, 'INSERT')
