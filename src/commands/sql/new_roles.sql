-- Roles that the scratch database $1 refers to, that were not there before ($2), and that no other database
-- refers to. None while another run has a scratch database: it may be about to use what it found.
select distinct r.rolname::text
from pg_catalog.pg_shdepend d
join pg_catalog.pg_roles r on r.oid = d.refobjid
join pg_catalog.pg_database own on own.oid = d.dbid and own.datname = $1
where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  and r.rolname::text <> all ($2)
  and not exists (
    select from pg_catalog.pg_shdepend o
    where o.refclassid = d.refclassid and o.refobjid = r.oid and o.dbid not in (0, own.oid))
  and not exists (
    select from pg_catalog.pg_database o
    where o.datname operator(pg_catalog.~) '^kinedb_scratch_[0-9a-f]{32}$' and o.oid <> own.oid)
