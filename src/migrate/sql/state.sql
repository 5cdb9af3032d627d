select json_build_object(
  'server_version', current_setting('server_version_num')::int,
  'standby', pg_is_in_recovery(),
  'read_only', current_setting('default_transaction_read_only') = 'on',
  'backend', pg_backend_pid(),
  'user', current_user,
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
    select coalesce(json_agg(json_build_object('name', s.name, 'direction', s.direction)), '[]')
    from public.kinedb_history s
    where s.outcome = 'started' and not exists (
      select from public.kinedb_history d
      where d.name = s.name and d.direction = s.direction and d.outcome = 'done' and d.id > s.id)))::text
