-- title: a role of the application may read files of the server
select a.name as object, format('grant pg_read_server_files to %s', a.oid::regrole) as sql, array['pg_read_server_files'] as names
from acting a where a.scope = 'tenant'
