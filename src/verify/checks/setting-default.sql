-- title: a tenant, or another setting that policies read, is set by default
-- severity: error
-- why: A default that forbids writing, or reading what policies bind, leaves the role without its own rows. A default given to a role or to the database puts every fresh session into a tenant before anybody asked for one. SET ROLE does not show it.
-- bad: alter role app set app.tenant_id = '...';
-- good: alter role app reset app.tenant_id;
-- fix: Reset the setting; the application sets it in each transaction.
-- source: PostgreSQL manual, ALTER ROLE ... SET; pg_db_role_setting
-- excepts: no-context, bypass-setting
-- needs: default-settings, roles
select case when s.setrole = 0 then d.name else m.name end as object, m.acting_name as role,
       format('`%s` is set by default for %s%s', split_part(c.entry, '=', 1), case when s.setrole = 0 then 'every role' else format('`%s`', m.name) end,
              case when s.setdatabase = 0 then '' else format(' in the database `%s`', d.name) end) as detail,
       case when s.setrole = 0 then format('alter database %I reset %s;', d.name, split_part(c.entry, '=', 1))
            when s.setdatabase = 0 then format('alter role %I reset %s;', m.name, split_part(c.entry, '=', 1))
            else format('alter role %I in database %I reset %s;', m.name, d.name, split_part(c.entry, '=', 1)) end as fix,
       case when t.name = 'session_replication_role' or t.in_context is not null then null else 'warning' end as severity,
       array['select'] as actions, '*' as cells
from pg_catalog.pg_db_role_setting s
cross join lateral unnest(s.setconfig) c(entry)
join (select name, in_context from setting union select 'session_replication_role', true) t on lower(split_part(c.entry, '=', 1)) = t.name
join member m on s.setrole in (0, m.oid)
cross join (select current_database() as name) d
cross join scope
where s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
  and substr(c.entry, strpos(c.entry, '=') + 1) <> ''
  and j->'no_context'->>'tenant' is distinct from substr(c.entry, strpos(c.entry, '=') + 1)
union all
-- It leaves the role without its own rows: with row_security off every query that policies bind fails.
select m.name, m.acting_name, format('`%s` is set by default for `%s`: %s', split_part(c.entry, '=', 1), m.name,
         case when c.entry like 'row\_security=%' then 'every query on a table with policies fails' else 'its sessions cannot write' end),
       format('alter role %I reset %s;', m.name, split_part(c.entry, '=', 1)), null, array['select'], null
from pg_catalog.pg_db_role_setting s
cross join lateral unnest(s.setconfig) c(entry)
join member m on s.setrole = m.oid and m.scope = 'tenant' and not m.unbound
where s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
  and (c.entry ~* '^row_security=(off|false|no|0|f)$'
       or c.entry ~* '^(default_)?transaction_read_only=(on|true|yes|1|t)$' and exists (select from can x where x.acting = m.acting and x.rank in (2, 3, 4)))
