select oid::int8, pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid)
from pg_catalog.pg_policy where oid = any (array[:ids]::oid[])
