-- Makes the block a function of the session's transaction, unless somebody is told of
-- what is made. Where it cannot be, the block goes along with each message.
begin
  if pg_catalog.has_database_privilege(pg_catalog.current_database(), 'temporary')
    and not exists (select from pg_catalog.pg_event_trigger t where t.evtenabled <> 'D') then
    create function pg_temp.kinedb_probes() returns void language plpgsql as $kinedb$
BLOCK
$kinedb$;
  end if;
exception when others then
  null;
end
