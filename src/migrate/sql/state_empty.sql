select json_build_object(
  'server_version', current_setting('server_version_num')::int,
  'standby', pg_is_in_recovery(),
  'read_only', current_setting('default_transaction_read_only') = 'on',
  'backend', pg_backend_pid(),
  'user', current_user,
  'database', current_database(),
  'no_history', true)::text
