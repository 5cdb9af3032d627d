-- What rows must satisfy, who may read and write them, and what can be called, as a
-- json value: $1 relations, $2 acting roles, $3 functions.
with wanted as (select unnest($1::oid[]) as oid),
acting as materialized (select r.oid from unnest($2::oid[]) want(oid) join pg_roles r on r.oid = want.oid)
select json_build_object(
'checks', (select coalesce(json_agg(x), '[]') from (
   select json_build_object('relation', c.conrelid::bigint, 'name', c.conname, 'check', pg_get_expr(c.conbin, c.conrelid),
      'columns', c.conkey) as x
     from pg_constraint c where c.contype = 'c' and c.conrelid in (select oid from wanted)
   union all
   select json_build_object('relation', r.oid::bigint, 'name', 'partition bound', 'check', pg_get_partition_constraintdef(r.oid),
      'columns', (select array_agg(k.attnum) from pg_partitioned_table p cross join lateral unnest(p.partattrs::int2[]) k(attnum)
                   where k.attnum > 0 and p.partrelid = (select i.inhparent from pg_inherits i where i.inhrelid = r.oid)))
     from pg_class r where r.relispartition and r.oid in (select oid from wanted)
   union all
   -- a row of a partitioned table goes where a partition takes it
   select json_build_object('relation', p.partrelid::bigint, 'name', 'a partition''s bound',
      'check', '(' || (select string_agg(coalesce(pg_get_partition_constraintdef(leaf.relid), 'true'), ') or (')
                         from pg_partition_tree(p.partrelid) leaf where leaf.isleaf and leaf.relid <> p.partrelid) || ')',
      'columns', (select array_agg(k) from unnest(p.partattrs::int2[]) k where k > 0))
     from pg_partitioned_table p where p.partrelid in (select oid from wanted)
  ) checks where x ->> 'check' is not null),
'barrier', (select coalesce(json_agg(c.oid::bigint), '[]') from (select w.oid from wanted w join pg_class v on v.oid = w.oid where v.relkind = 'v' offset 0) c
  where pg_relation_is_updatable(c.oid, true) <> 0),
'grants', (select coalesce(json_agg(g), '[]') from (
   select json_build_object('role', r.oid::bigint, 'relation', c.oid::bigint,
     'select', has_table_privilege(r.oid, c.oid, 'SELECT'), 'insert', has_table_privilege(r.oid, c.oid, 'INSERT'),
     'update', has_table_privilege(r.oid, c.oid, 'UPDATE'), 'delete', has_table_privilege(r.oid, c.oid, 'DELETE') and (c.relkind <> 'v' or pg_relation_is_updatable(c.oid, true) & 16 <> 0) and c.relkind <> 'm',
     'truncate', has_table_privilege(r.oid, c.oid, 'TRUNCATE'), 'trigger', has_table_privilege(r.oid, c.oid, 'TRIGGER'),
     'columns', case when has_any_column_privilege(r.oid, c.oid, 'SELECT,INSERT,UPDATE') then (
        select json_object_agg(a.attname, (case when has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') then 'r' else '' end)
              || (case when has_column_privilege(r.oid, c.oid, a.attnum, 'INSERT') and (c.relkind <> 'v' or pg_column_is_updatable(c.oid, a.attnum, true)) then 'a' else '' end)
              || (case when has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE') and (c.relkind <> 'v' or pg_column_is_updatable(c.oid, a.attnum, true)) then 'w' else '' end))
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) end) as g
     from acting r cross join pg_class c
     join pg_namespace n on n.oid = c.relnamespace
    where c.oid in (select oid from wanted) and has_schema_privilege(r.oid, n.oid, 'USAGE')
      and (has_any_column_privilege(r.oid, c.oid, 'SELECT,INSERT,UPDATE') or has_table_privilege(r.oid, c.oid, 'DELETE,TRUNCATE'))) granted),
'functions', (select coalesce(json_agg(json_build_object('oid', p.oid::bigint, 'language', l.lanname, 'body', p.prosrc,
     'arguments', (select coalesce(json_agg(json_build_object('type', format_type(a.t, null), 'base', b.typname, 'category', b.typcategory) order by a.n), '[]')
                     from unnest(p.proargtypes::oid[]) with ordinality a(t, n) join pg_type b on b.oid = a.t),
     'defaults', p.pronargdefaults, 'strict', p.proisstrict, 'variadic', p.provariadic <> 0, 'void', p.prorettype = 'void'::regtype, 'returns_set', p.proretset,
     'returns', format_type(p.prorettype, null),
     'roles', (select coalesce(json_agg(r.oid::bigint), '[]') from acting r
                where has_function_privilege(r.oid, p.oid, 'EXECUTE') and has_schema_privilege(r.oid, p.pronamespace, 'USAGE')))), '[]')
  from pg_proc p join pg_language l on l.oid = p.prolang where p.oid = any($3::oid[])))
