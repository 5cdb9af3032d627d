-- What every part selects from: the objects of this database that are neither the system's, nor an
-- extension's, nor kinedb's own.
with spaces as (
  select n.oid, n.nspname, n.nspowner, n.nspacl
  from pg_namespace n
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
), own as (
  select c.oid from pg_class c
  where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = 'public')
    and c.relname in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')
), rels as (
  select c.*, format('%I.%I', s.nspname, c.relname) as name,
    case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
      when 'f' then 'foreign table' when 'S' then 'sequence' else 'type' end
      || ' ' || format('%I.%I', s.nspname, c.relname) as object
  from pg_class c join spaces s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    and c.oid not in (select oid from own)
    -- The sequence of an identity column is an attribute of that column.
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
      and (d.deptype = 'e' or c.relkind = 'S' and d.refclassid = 'pg_class'::regclass
           and (d.deptype = 'i' or d.deptype = 'a' and d.refobjid in (select oid from own))))
), funs as (
  select p.*, case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end || ' '
      || format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as object,
    format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as name
  from pg_proc p join spaces s on s.oid = p.pronamespace
  where p.proname <> 'kinedb_history_guard'
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid
      and (d.deptype = 'e' or d.deptype = 'i' and d.refclassid = 'pg_type'::regclass))
), typs as (
  select t.*, case t.typtype when 'd' then 'domain' else 'type' end || ' ' || format('%I.%I', s.nspname, t.typname) as object
  from pg_type t join spaces s on s.oid = t.typnamespace
  where (t.typtype in ('e', 'd', 'r')
      or t.typtype = 'b' and t.typelem = 0
      or t.typtype = 'c' and t.typrelid in (select oid from pg_class where relkind = 'c'))
    and not exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
), cons as (
  select c.*, format('constraint %I on %s', c.conname, coalesce(r.object, t.object)) as object,
    coalesce(r.object, t.object) as parent, coalesce(r.relispartition, false) as of_partition
  from pg_constraint c left join rels r on r.oid = c.conrelid left join typs t on t.oid = c.contypid and c.contypid <> 0
  -- NOT NULL is an attribute of the column; a constraint trigger is a trigger.
  where c.contype not in ('n', 't') and coalesce(r.object, t.object) is not null
), named_roles as (
  -- Whoever owns, is granted, or is named by a policy here, and what they are members of: roles of
  -- other databases are not ours to describe. The bootstrap superuser has another name in every cluster.
  with recursive walk as (
    select refobjid as oid from pg_shdepend
    where refclassid = 'pg_authid'::regclass
      and dbid = (select oid from pg_database where datname = current_database())
    union
    select d.setrole from pg_db_role_setting d
    where d.setrole <> 0 and d.setdatabase = (select oid from pg_database where datname = current_database())
    union
    select m.roleid from pg_auth_members m join walk on walk.oid = m.member
  )
  select r.oid, r.rolname, 'role ' || quote_ident(r.rolname) as object from walk join pg_roles r on r.oid = walk.oid
  where r.oid <> 10
)
