-- title: the server's configuration puts every session into a tenant
-- severity: error
-- why: A value in postgresql.conf or by ALTER SYSTEM holds for each fresh connection that has set nothing.
-- bad: app.tenant_id = '...' in postgresql.conf
-- good: no line for it
-- fix: Remove the line from the configuration and reload.
-- source: PostgreSQL manual, 20.16 Customized Options
-- excepts: no-context, bypass-setting
-- needs: settings-in-force
select s.name as object, null as role, format('a fresh session finds `%s` set although nothing set it', s.name) as detail,
       format('remove `%s` from the server''s configuration files, then select pg_reload_conf();', s.name) as fix,
       format('select current_setting(%L, true);', s.name) as reproduce,
       array['select'] as actions, '*' as cells
from setting s, scope
where s.name like '%.%' and nullif(current_setting(s.name, true), '') is not null
  and not (j->>'in_transaction')::boolean
  and j->'no_context'->>'tenant' is distinct from current_setting(s.name, true)
  and not exists (select from pg_catalog.pg_db_role_setting d, unnest(d.setconfig) c
                  where lower(split_part(c, '=', 1)) = s.name and d.setrole in (0, (select oid from pg_catalog.pg_roles where rolname = session_user)))
