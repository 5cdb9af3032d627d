select pg_catalog.set_config('role', 'kine_owner', true),
       pg_catalog.set_config('app.tenant_id', $1, true),
       pg_catalog.set_config('app.user_id', '', true),
       pg_catalog.set_config('app.system_actor', 'seed', true),
       pg_catalog.set_config('application_name', 'kinedb seed', true)
