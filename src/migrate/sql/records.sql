select run_id::text, name, direction, checksum,
       to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'),
       duration_ms, outcome, database_user, host, kinedb_version, git_commit, reason, step,
       -- Tables of older versions have no such column.
       nullif(to_jsonb(h) -> 'details', 'null')::text
from public.kinedb_history h
order by id
