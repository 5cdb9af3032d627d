-- Asked again and again while a statement runs, so it reads no more than the backends
-- in question: the view pg_stat_activity would be planned with all its joins each time.
-- pg_blocking_pids takes every lock partition, so it is asked only for a backend that waits.
select a.pid, coalesce(a.application_name, ''), coalesce(pg_catalog.pg_get_userbyid(a.usesysid)::text, ''), coalesce(a.state, 'unknown'),
       coalesce(extract(epoch from clock_timestamp() - a.xact_start)::bigint, 0),
       case when a.query is null or a.query like '<%' then 'unknown'
            else coalesce(substring(lower(a.query) from '^\s*([a-z]+)'), 'unknown') end
from pg_catalog.pg_stat_get_activity($1) as me
cross join lateral unnest(case when me.wait_event_type = 'Lock' then pg_catalog.pg_blocking_pids(me.pid) end) as b(pid)
cross join lateral pg_catalog.pg_stat_get_activity(b.pid) as a
order by a.xact_start
