-- What this transaction has written of the catalogue, and what others committed since it began: the relations and
-- functions that have a row of such a version. Counters of the transaction tell which catalogues were written at
-- all, so the others are not read; that rows are gone, which no row can tell; and changes of what concerns all,
-- also in catalogues that not everybody may read. A change that was rolled back counts, too: in doubt it is touched.
with counts (catalogue, put, gone) as materialized (
  select c.oid, coalesce(pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), 0) + coalesce(pg_catalog.pg_stat_get_xact_tuples_updated(c.oid), 0),
         coalesce(pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid), 0)
  from pg_catalog.pg_class c
  where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' and c.oid < 16384
), written as materialized (
  select catalogue from counts where put > 0
), rows (kind, oid) as (
  select 'relation', c.oid from pg_catalog.pg_class c
  where exists (select from written where catalogue = 'pg_catalog.pg_class'::regclass) and pg_catalog.age(c.xmin) <= 0
  union all
  select 'relation', a.attrelid from pg_catalog.pg_attribute a
  where exists (select from written where catalogue = 'pg_catalog.pg_attribute'::regclass) and pg_catalog.age(a.xmin) <= 0 and a.attnum > 0
  union all
  select 'relation', d.adrelid from pg_catalog.pg_attrdef d
  where exists (select from written where catalogue = 'pg_catalog.pg_attrdef'::regclass) and pg_catalog.age(d.xmin) <= 0
  union all
  select 'relation', p.polrelid from pg_catalog.pg_policy p
  where exists (select from written where catalogue = 'pg_catalog.pg_policy'::regclass) and pg_catalog.age(p.xmin) <= 0
  union all
  select 'relation', t.tgrelid from pg_catalog.pg_trigger t
  where exists (select from written where catalogue = 'pg_catalog.pg_trigger'::regclass) and pg_catalog.age(t.xmin) <= 0
    and (not t.tgisinternal or t.tgenabled <> 'O')
  union all
  select 'relation', k.conrelid from pg_catalog.pg_constraint k
  where exists (select from written where catalogue = 'pg_catalog.pg_constraint'::regclass) and pg_catalog.age(k.xmin) <= 0
  union all
  select 'relation', i.indrelid from pg_catalog.pg_index i
  where exists (select from written where catalogue = 'pg_catalog.pg_index'::regclass) and pg_catalog.age(i.xmin) <= 0
    and (i.indisunique or i.indisexclusion)
  union all
  select 'relation', w.ev_class from pg_catalog.pg_rewrite w
  where exists (select from written where catalogue = 'pg_catalog.pg_rewrite'::regclass) and pg_catalog.age(w.xmin) <= 0
  union all
  select 'relation', h.inhrelid from pg_catalog.pg_inherits h
  where exists (select from written where catalogue = 'pg_catalog.pg_inherits'::regclass) and pg_catalog.age(h.xmin) <= 0
  union all
  select 'function', f.oid from pg_catalog.pg_proc f
  where exists (select from written where catalogue = 'pg_catalog.pg_proc'::regclass) and pg_catalog.age(f.xmin) <= 0
), spaces as materialized (
  select oid from pg_catalog.pg_namespace
  where nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_(toast|temp)'
)
select 'object', r.oid::bigint from (select distinct oid from rows where kind = 'relation') r
join pg_catalog.pg_class c on c.oid = r.oid
where c.relnamespace in (select oid from spaces) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  and not (c.relnamespace = 'public'::regnamespace and c.relname in ('seaql_migrations', 'kinedb_history', 'kinedb_history_id_seq'))
union all
select 'object', r.oid::bigint from (select distinct oid from rows where kind = 'function') r
join pg_catalog.pg_proc f on f.oid = r.oid
where f.pronamespace in (select oid from spaces)
  and not (f.pronamespace = 'public'::regnamespace and f.proname = 'kinedb_history_guard')
union all
-- The server counts on until it reports, which it is to do when this transaction ends, so that the next one begins at
-- nothing. Counts that are left over make more seem touched, never less.
select 'reported', 0 from (select pg_catalog.pg_stat_force_next_flush()) as flush
union all
-- A relation that is gone is reached by nobody, so it is told apart; a default that is gone shows in its column.
select 'removed', 0 where exists (select from counts where gone > 0 and catalogue = 'pg_catalog.pg_class'::regclass)
union all
select 'gone', 0 where exists (
  select from counts where gone > 0 and catalogue = any ('{pg_catalog.pg_policy,pg_catalog.pg_trigger,pg_catalog.pg_constraint,
    pg_catalog.pg_rewrite,pg_catalog.pg_inherits,pg_catalog.pg_proc}'::regclass[]))
union all
select 'global', 0 where exists (
    select from counts where put + gone > 0 and catalogue = any ('{pg_catalog.pg_auth_members,pg_catalog.pg_authid,
      pg_catalog.pg_db_role_setting,pg_catalog.pg_default_acl,pg_catalog.pg_database,pg_catalog.pg_extension,pg_catalog.pg_publication,
      pg_catalog.pg_publication_rel,pg_catalog.pg_publication_namespace,pg_catalog.pg_foreign_server,pg_catalog.pg_user_mapping,
      pg_catalog.pg_operator,pg_catalog.pg_cast,pg_catalog.pg_parameter_acl,pg_catalog.pg_largeobject_metadata}'::regclass[]))
  or exists (select from pg_catalog.pg_namespace s where pg_catalog.age(s.xmin) <= 0 and s.nspname !~ '^pg_(toast|temp)')
  or exists (select from counts where gone > 0 and catalogue = 'pg_catalog.pg_namespace'::regclass)
  -- rights on what belongs to the server itself
  or exists (select from rows r join pg_catalog.pg_class c on c.oid = r.oid where r.kind = 'relation' and c.oid < 16384)
  or exists (select from rows where kind = 'function' and oid < 16384)
  -- nothing was counted
  or pg_catalog.current_setting('track_counts') <> 'on'
