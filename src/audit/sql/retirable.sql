-- Monthly partitions that ended so many months ago, oldest first; $1 is in months.
select to_char(to_date(right(c.relname::text, 7), 'YYYY_MM'), 'YYYY-MM')
from pg_catalog.pg_inherits i
join pg_catalog.pg_class c on c.oid = i.inhrelid
where i.inhparent = 'public.audit_events'::regclass and c.relname::text ~ '^audit_events_[0-9]{4}_[0-9]{2}$'
  and to_date(right(c.relname::text, 7), 'YYYY_MM') + interval '1 month' <= now() - make_interval(months => $1)
order by 1
