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
    select coalesce(json_agg(json_build_object(
      'name', m.version,
      'applied_at', m.applied_at,
      'checksum', h.checksum) order by m.version collate "C"), '[]')
    from public.seaql_migrations m
    left join lateral (
      select checksum from public.kinedb_history
      where name = m.version and direction <> 'down' and outcome = 'done'
      order by id desc limit 1) h on true),
  'unfinished', (
    select coalesce(json_agg(json_build_object('name', u.name, 'direction', u.direction)), '[]')
    from (
      select distinct s.name, s.direction
      from public.kinedb_history s
      where s.outcome = 'started' and not exists (
        select from public.kinedb_history d
        where d.name = s.name and d.outcome = 'done' and d.id > s.id)) u))::text
