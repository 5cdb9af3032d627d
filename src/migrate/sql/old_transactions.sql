-- Transactions of this database that have been open for more than a second.
select a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, 'unknown'),
       coalesce(extract(epoch from clock_timestamp() - a.xact_start)::bigint, 0),
       case when a.query is null or a.query like '<%' then 'unknown'
            else coalesce(substring(lower(a.query) from '^\s*([a-z]+)'), 'unknown') end
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
  and (a.backend_xid is not null or a.backend_xmin is not null)
  and a.xact_start < clock_timestamp() - interval '1 second'
order by a.xact_start
