-- The event triggers that guard the trail: one row for each that is not there or not as it was made. $1: the body.
-- Number of those that are in place beside it: none at all is a choice, one of two is not.
select w.name,
  case
    when e.oid is null then 'is missing'
    when e.evtenabled <> 'A' then 'is switched off'
    when p.prosrc <> $1 then 'calls a function with another body'
    when not coalesce(a.rolsuper and o.rolsuper, false) then 'belongs to a role that is no superuser'
  end as wrong,
  e.oid is not null as there
from (values ('kine_guard_changes', 'ddl_command_end'), ('kine_guard_drops', 'sql_drop')) w (name, event)
left join pg_catalog.pg_event_trigger e on e.evtname = w.name and e.evtevent = w.event
left join pg_catalog.pg_proc p on p.oid = e.evtfoid
left join pg_catalog.pg_roles a on a.oid = e.evtowner
left join pg_catalog.pg_roles o on o.oid = p.proowner
order by 1
