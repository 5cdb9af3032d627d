-- Relations and functions that cannot be read because another session holds, or queues for, an
-- ACCESS EXCLUSIVE lock: (is a relation, oid, the relation that is locked, by whom).
with recursive lock (oid, who) as (
  select coalesce(i.indrelid, l.relation),
         min(case when l.pid is null then 'a prepared transaction'
                  else format('session %s%s%s', l.pid,
                              case when nullif(a.application_name, '') is null then '' else format(' (`%s`)', a.application_name) end,
                              case when a.usename is null then '' else format(' of `%s`', a.usename) end) end
             || case when l.granted then ' holds' else ' waits for' end)
  from pg_catalog.pg_locks l
  left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  left join pg_catalog.pg_index i on i.indexrelid = l.relation
  join pg_catalog.pg_class c on c.oid = coalesce(i.indrelid, l.relation) and c.relnamespace <> 'pg_catalog'::regnamespace
  where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.pid is distinct from pg_catalog.pg_backend_pid()
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  group by 1
),
held (class, oid, root) as (
  select 'pg_catalog.pg_class'::regclass::oid, oid, oid from lock
  union
  select next.class, next.oid, held.root
  from held cross join lateral (
    -- Views and policies that speak of it, and functions whose body is parsed; what those are called by.
    select 'pg_catalog.pg_class'::regclass::oid as class, coalesce(w.ev_class, p.polrelid) as oid
    from pg_catalog.pg_depend d
    left join pg_catalog.pg_rewrite w on d.classid = 'pg_catalog.pg_rewrite'::regclass and w.oid = d.objid and w.ev_type = '1'
    left join pg_catalog.pg_policy p on d.classid = 'pg_catalog.pg_policy'::regclass and p.oid = d.objid
    where d.refclassid = held.class and d.refobjid = held.oid and coalesce(w.ev_class, p.polrelid) is not null
    union all
    select d.classid, d.objid from pg_catalog.pg_depend d
    where d.refclassid = held.class and d.refobjid = held.oid and d.classid = 'pg_catalog.pg_proc'::regclass and d.deptype = 'n'
    -- Who reads a table reads its children; a partition is nothing without its parent.
    union all
    select held.class, i.inhparent from pg_catalog.pg_inherits i where i.inhrelid = held.oid and held.class = 'pg_catalog.pg_class'::regclass
    union all
    select held.class, i.inhrelid from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid and c.relispartition
    where i.inhparent = held.oid and held.class = 'pg_catalog.pg_class'::regclass
  ) next
)
select held.class = 'pg_catalog.pg_class'::regclass, held.oid,
       coalesce(min(held.root) filter (where held.root = held.oid), min(held.root)), l.who
from held join lock l on l.oid = held.root
group by held.class, held.oid, l.who
order by 1, 2, 3
