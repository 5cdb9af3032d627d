-- Months that have events in the default partition.
select to_char(e.occurred_at, 'YYYY-MM'), count(*) from public.audit_events_default e group by 1 order by 1
