-- What a database holds that a new one does not: relations and functions, schemas.
select (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)')
     + (select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname not in ('pg_catalog', 'information_schema')),
  (select count(*) from pg_namespace n where n.nspname not in ('pg_catalog', 'information_schema', 'public') and n.nspname !~ '^pg_')
