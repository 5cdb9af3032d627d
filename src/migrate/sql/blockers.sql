-- pg_blocking_pids takes every lock partition, so it is asked only for a backend that waits.
select a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, 'unknown'),
       coalesce(extract(epoch from clock_timestamp() - a.xact_start)::bigint, 0),
       case when a.query is null or a.query like '<%' then 'unknown'
            else coalesce(substring(lower(a.query) from '^\s*([a-z]+)'), 'unknown') end
from pg_catalog.pg_stat_activity me,
     lateral unnest(pg_catalog.pg_blocking_pids(me.pid)) as b(pid)
join pg_catalog.pg_stat_activity a on a.pid = b.pid
where me.pid = $1 and me.wait_event_type = 'Lock'
order by a.xact_start
