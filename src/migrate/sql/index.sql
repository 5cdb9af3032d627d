-- What has the name that an index of this table would get.
select format('%I.%I', n.nspname, c.relname),
       coalesce(x.indisvalid and x.indisready and x.indislive, false),
       coalesce(x.indrelid = t.oid, false),
       coalesce((select p.pid from pg_catalog.pg_stat_progress_create_index p
                 where p.index_relid = c.oid and p.pid <> pg_backend_pid()), 0),
       coalesce(pg_get_indexdef(x.indexrelid), '')
from pg_catalog.pg_class t
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
join pg_catalog.pg_class c on c.oid = to_regclass(quote_ident(n.nspname) || '.' || :index)
left join pg_catalog.pg_index x on x.indexrelid = c.oid
where t.oid = to_regclass(:table)
