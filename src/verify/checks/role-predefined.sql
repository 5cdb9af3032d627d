-- title: the application is a member of a predefined role with far-reaching rights
-- severity: error
-- why: Predefined roles read files, run programs, read other sessions' statements, or have rights on every table, those of tomorrow included.
-- bad: grant pg_write_all_data to app;
-- good: grant insert, update on appointments to app;
-- fix: Revoke the role and grant what is needed, table by table.
-- source: PostgreSQL manual, 22.5 Predefined Roles
-- needs: predefined-roles
select m.name as object, m.acting_name as role, format('`%s` is or can become `%s`: %s', m.acting_name, m.name, p.what) as detail,
       format('revoke %I from %I;', m.name, m.acting_name) as fix,
       p.severity
from member m
join (values
  ('pg_execute_server_program', 'error', 'it runs programs as the user of the server and so reads every file of it'),
  ('pg_read_server_files', 'error', 'it reads every file that the server can read'),
  ('pg_write_server_files', 'error', 'it writes every file that the server can write'),
  ('pg_read_all_stats', 'error', 'it reads the statements of all sessions, with the values in them'),
  ('pg_monitor', 'error', 'it reads the statements of all sessions, with the values in them'),
  ('pg_write_all_data', 'error', 'it may insert, update and delete in every table, append-only ones included'),
  -- No policy binds in the catalogue: the planner's statistics hold values of everybody's rows.
  ('pg_read_all_data', 'error', 'it may read every table that has no row level security, those made later and `pg_statistic` included, which holds values of all tenants'' rows'),
  ('pg_maintain', 'warning', 'it may lock and rewrite every table'),
  ('pg_create_subscription', 'warning', 'it may connect to other servers as the server'),
  ('pg_signal_backend', 'warning', 'it may end the sessions of other roles'),
  ('pg_stat_scan_tables', 'warning', 'it may scan every table for statistics')) p(name, severity, what) on p.name = m.name
