-- The relations $1 with all that stands over them, below them and beside them: views both ways, partitions and
-- children both ways, and from any of these one foreign key up or down.
with recursive family (oid) as (
  select r.oid from unnest($1::oid[]) as r(oid)
  union
  select other.oid from family f
  cross join lateral (
    select w.ev_class from pg_catalog.pg_depend d join pg_catalog.pg_rewrite w on w.oid = d.objid
    where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = f.oid
    union all
    select d.refobjid from pg_catalog.pg_rewrite w
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_catalog.pg_class'::regclass
    where w.ev_class = f.oid
    union all
    select i.inhparent from pg_catalog.pg_inherits i where i.inhrelid = f.oid
    union all
    select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = f.oid
  ) other(oid)
)
select oid from family
union
select k.confrelid from family f join pg_catalog.pg_constraint k on k.conrelid = f.oid and k.contype = 'f'
union
select k.conrelid from family f
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = f.oid
join pg_catalog.pg_constraint k on k.oid = d.objid and k.contype = 'f'
