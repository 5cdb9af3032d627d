-- Settings that a fresh login of each role starts with: those with a dot are
-- what contexts are made of, and row_security decides whether RLS hides or fails.
select r.rolname::text,
       split_part(c.entry, '=', 1) as name,
       substr(c.entry, strpos(c.entry, '=') + 1) as value
  from pg_catalog.unnest($1::text[]) as wanted (name)
  join pg_catalog.pg_roles r on r.rolname = wanted.name
  join pg_catalog.pg_db_role_setting s
    on s.setrole in (0, r.oid)
   and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
 cross join lateral pg_catalog.unnest(s.setconfig) as c (entry)
 where strpos(split_part(c.entry, '=', 1), '.') > 0
    or split_part(c.entry, '=', 1) in ('row_security', 'search_path')
 order by r.rolname, (s.setrole <> 0)::int + (s.setdatabase <> 0)::int, s.setrole <> 0
