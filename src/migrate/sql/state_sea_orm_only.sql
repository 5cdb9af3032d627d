select json_build_object(
  'server_version', current_setting('server_version_num')::int,
  'standby', pg_is_in_recovery(),
  'read_only', current_setting('default_transaction_read_only') = 'on',
  'backend', pg_backend_pid(),
  'user', current_user,
  'database', current_database(),
  'no_history', true,
  'applied', (
    select coalesce(json_agg(json_build_object('name', version, 'applied_at', applied_at) order by version collate "C"), '[]')
    from public.seaql_migrations))::text
