-- Takes away all that files in policies/ give: views, policies, row security, grants. What is left is
-- what migrations alone make; running the files then gives the declared state.
-- `kinedb.declared` is a list of names as the files write them, `kinedb.named` the views that they name.
do $strip$
declare
  one record;
  declared text[] := string_to_array(current_setting('kinedb.declared'), E'\n');
  named text[] := string_to_array(current_setting('kinedb.named'), E'\n');
begin
  create temporary table kinedb_tables on commit drop as
    select distinct p.oid
    from unnest(declared) d (name)
    cross join lateral (select to_regclass(d.name)::oid as oid) t
    cross join lateral (
      select t.oid union select i.relid from pg_partition_tree(t.oid) i) p
    where t.oid is not null;

  -- Views over these tables, and those that a file names, deepest first.
  for one in
    with recursive users (oid, depth) as (
      select v.oid, 1 from pg_class v
      where v.relkind = 'v' and v.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and (v.oid in (select to_regclass(n)::oid from unnest(named) n)
          or exists (select from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
            where w.ev_class = v.oid and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from kinedb_tables)))
        and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = v.oid and d.deptype = 'e')
      union
      select v.oid, u.depth + 1 from users u
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = u.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite w on w.oid = d.objid
      join pg_class v on v.oid = w.ev_class and v.relkind = 'v' and v.oid <> u.oid
    )
    select format('%I.%I', n.nspname, c.relname) as name from (select oid, max(depth) as depth from users group by oid) u
    join pg_class c on c.oid = u.oid join pg_namespace n on n.oid = c.relnamespace
    order by u.depth desc
  loop
    execute format('drop view %s', one.name);
  end loop;

  for one in select p.polname, p.polrelid::regclass as on_table from pg_policy p where p.polrelid in (select oid from kinedb_tables) loop
    execute format('drop policy %I on %s', one.polname, one.on_table);
  end loop;

  for one in
    select c.oid::regclass as name, (
      select string_agg(distinct a.grantee::regrole::text, ', ') from (
        select (aclexplode(c.relacl)).grantee
        union select (aclexplode(t.attacl)).grantee from pg_attribute t where t.attrelid = c.oid and t.attacl is not null
      ) a where a.grantee <> c.relowner and a.grantee <> 0) as grantees
    from pg_class c where c.oid in (select oid from kinedb_tables)
  loop
    execute format('alter table %s disable row level security, no force row level security', one.name);
    execute format('revoke all on table %s from public', one.name);
    if one.grantees is not null then
      execute format('revoke all on table %s from %s', one.name, one.grantees);
    end if;
  end loop;

  -- Functions of the same schemas: who may call them stands in the files, too.
  for one in
    select p.oid::regprocedure as name, string_agg(distinct a.grantee::regrole::text, ', ') as grantees
    from pg_proc p cross join lateral aclexplode(p.proacl) a
    where p.pronamespace in (select c.relnamespace from pg_class c where c.oid in (select oid from kinedb_tables))
      and p.prokind in ('f', 'p', 'w') and p.proname <> 'kinedb_history_guard'
      and a.grantee <> p.proowner and a.grantee <> 0
      and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
    group by p.oid
  loop
    execute format('revoke all on routine %s from %s', one.name, one.grantees);
  end loop;
end
$strip$;
