-- This month and so many after it, in UTC.
select pg_catalog.to_char(pg_catalog.date_trunc('month', pg_catalog.now() at time zone 'UTC') + pg_catalog.make_interval(months => ahead), 'YYYY-MM')
from pg_catalog.generate_series(0, $1) as ahead
order by 1
