select json_build_object(
  'server_version', current_setting('server_version_num')::int,
  'standby', pg_is_in_recovery(),
  'read_only', current_setting('default_transaction_read_only') = 'on',
  'backend', pg_backend_pid(),
  'user', current_user,
  'superuser', current_setting('is_superuser') = 'on',
  'watches_client', version() !~* 'windows|mingw|visual c',
  'server_started', pg_postmaster_start_time()::text,
  'server_port', inet_server_port(),
  'server_address', host(inet_server_addr()),
  'socket_folders', case when current_setting('is_superuser') = 'on' then current_setting('unix_socket_directories') end,
  'configured_port', current_setting('port')::int,
  'database', current_database(),
  'applied', (
    select coalesce(json_agg(json_build_object('name', version, 'applied_at', applied_at) order by version collate "C"), '[]')
    from public.seaql_migrations),
  'events', (
    select coalesce(json_agg(json_build_array(name, direction, outcome, checksum) order by id), '[]')
    from public.kinedb_history))::text
