-- Scratch databases whose run is gone: its session, which is named like the database, ended with it.
-- The name is set before the database is made, so one that is listed here and has no session has no run.
-- Only what this user may drop.
select d.datname::text
from pg_catalog.pg_database d
where d.datname operator(pg_catalog.~) '^kinedb_scratch_[0-9a-f]{32}$'
  and pg_catalog.pg_has_role(d.datdba, 'usage')
  and not exists (
    select from pg_catalog.pg_stat_activity a where a.application_name operator(pg_catalog.=) d.datname::text)
