-- In one message: who answers, what is applied, what history tells. Plain columns, because a new session pays
-- for each function that it meets for the first time.
select current_setting('server_version_num'), pg_is_in_recovery(), current_setting('default_transaction_read_only'),
       pg_backend_pid(), current_user, current_setting('is_superuser'), current_database();
select version, applied_at from public.seaql_migrations;
select id, name, direction, outcome, checksum from public.kinedb_history;
