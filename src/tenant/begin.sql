-- Takes the context if the connection brought none along; the inner select is evaluated first.
select before.clean,
       case when before.clean then pg_catalog.set_config('app.tenant_id', $1, true) end,
       case when before.clean then pg_catalog.set_config('app.user_id', $2, true) end,
       case when before.clean then pg_catalog.set_config('role', 'kine_app', true) end
  from (
    select coalesce(pg_catalog.current_setting('app.tenant_id', true), '') = ''
       and coalesce(pg_catalog.current_setting('app.user_id', true), '') = ''
       and pg_catalog.current_setting('role') in ('none', 'kine_app') as clean
    offset 0
  ) before
