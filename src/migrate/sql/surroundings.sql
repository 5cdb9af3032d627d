-- What only a run that changes something has to know.
select version() !~* 'windows|mingw|visual c', pg_postmaster_start_time()::text, inet_server_port(), host(inet_server_addr()),
       case when current_setting('is_superuser') = 'on' then current_setting('unix_socket_directories') end,
       current_setting('port')::int, current_setting('default_transaction_isolation')
