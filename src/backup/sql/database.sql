-- The database, its grants and settings, the roles it needs, and its sequences, as JSON.
select json_build_object(
  'database', (select json_build_object(
      'name', d.datname, 'server_version', current_setting('server_version_num')::int,
      'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding),
      'collate', d.datcollate, 'ctype', d.datctype, 'bytes', pg_database_size(d.oid),
      'grants', (select coalesce(json_agg(json_build_array(g.rolname, a.privilege_type, a.is_grantable) order by g.rolname, a.privilege_type), '[]')
                   from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a left join pg_roles g on g.oid = a.grantee),
      'settings', (select coalesce(json_agg(json_build_array(r.rolname, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)) order by r.rolname, c), '[]')
                     from pg_db_role_setting s cross join unnest(s.setconfig) c left join pg_roles r on r.oid = s.setrole
                    where s.setdatabase = d.oid))
    from pg_database d where d.datname = current_database()),
  'roles', (select coalesce(json_agg(json_build_object('name', r.rolname, 'login', r.rolcanlogin,
                     'bypassrls', r.rolbypassrls, 'superuser', r.rolsuper) order by r.rolname), '[]')
              from pg_roles r
             where r.oid in (select s.refobjid from pg_shdepend s
                              where s.refclassid = 'pg_authid'::regclass
                                and s.dbid = (select oid from pg_database where datname = current_database()))),
  'sequences', (select coalesce(json_agg(json_build_array(format('%I.%I', q.schemaname, q.sequencename), q.last_value)
                                         order by q.schemaname, q.sequencename), '[]') from pg_sequences q)
)::text
