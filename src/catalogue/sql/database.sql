-- The database as a whole, its schemas, and what belongs to no schema.
select 'database' as object, null::text as parent, v.attribute, v.value
from pg_database d
cross join lateral (values
  ('owner', d.datdba::regrole::text),
  ('connections', case when not d.datallowconn then 'refused' when d.datconnlimit <> -1 then 'at most ' || d.datconnlimit end),
  ('comment', shobj_description(d.oid, 'pg_database'))
) v (attribute, value)
where d.datname = current_database() and v.value is not null
union all
-- A value may be a secret; its name tells.
select 'database', null, format('setting %s%s', split_part(c, '=', 1), coalesce(' of ' || nullif(d.setrole, 0)::regrole::text, '')),
  case when split_part(c, '=', 1) ~* '(secret|password|token|key)' then '(hidden)' else substr(c, strpos(c, '=') + 1) end
from pg_db_role_setting d cross join unnest(d.setconfig) c
where d.setdatabase = (select oid from pg_database where datname = current_database())
union all
select 'schema ' || quote_ident(s.nspname), null, 'owner', s.nspowner::regrole::text from spaces s
union all
select 'extension ' || quote_ident(e.extname), null, v.attribute, v.value
from pg_extension e
cross join lateral (values ('version', e.extversion), ('schema', e.extnamespace::regnamespace::text), ('owner', e.extowner::regrole::text)) v (attribute, value)
where e.extname <> 'plpgsql'
union all
select 'event trigger ' || quote_ident(e.evtname), null, v.attribute, v.value
from pg_event_trigger e
cross join lateral (values
  ('event', e.evtevent::text),
  ('tags', array_to_string(e.evttags, ', ')),
  ('function', e.evtfoid::regprocedure::text),
  ('owner', e.evtowner::regrole::text),
  ('enabled', case e.evtenabled when 'O' then 'yes' when 'A' then 'always' when 'R' then 'on a replica' else 'no' end)
) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_event_trigger'::regclass and d.objid = e.oid and d.deptype = 'e')
union all
select 'publication ' || quote_ident(p.pubname), null, v.attribute, v.value
from pg_publication p
cross join lateral (values
  ('owner', p.pubowner::regrole::text),
  ('tables', case when p.puballtables then 'all' else (
    select string_agg(pr.prrelid::regclass::text
        || coalesce(' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attname)
             from pg_attribute a where a.attrelid = pr.prrelid and a.attnum = any (pr.prattrs::smallint[])) || ')', '')
        || coalesce(' where ' || pg_get_expr(pr.prqual, pr.prrelid), ''), ', ' order by pr.prrelid::regclass::text)
    from pg_publication_rel pr where pr.prpubid = p.oid) end),
  ('schemas', (select string_agg(n.pnnspid::regnamespace::text, ', ' order by n.pnnspid::regnamespace::text)
    from pg_publication_namespace n where n.pnpubid = p.oid)),
  ('publishes', concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
    case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end, case when p.pubviaroot then 'through the root' end))
) v (attribute, value)
where v.value is not null
union all
select 'subscription ' || quote_ident(s.subname), null, v.attribute, v.value
from pg_subscription s
cross join lateral (values ('owner', s.subowner::regrole::text), ('publications', array_to_string(s.subpublications, ', ')),
  ('enabled', case when s.subenabled then 'yes' else 'no' end)) v (attribute, value)
where s.subdbid = (select oid from pg_database where datname = current_database())
union all
select 'foreign data wrapper ' || quote_ident(w.fdwname), null, v.attribute, v.value
from pg_foreign_data_wrapper w
cross join lateral (values ('owner', w.fdwowner::regrole::text), ('handler', nullif(w.fdwhandler, 0)::regprocedure::text),
  ('validator', nullif(w.fdwvalidator, 0)::regprocedure::text)) v (attribute, value)
where v.value is not null
  and not exists (select from pg_depend d where d.classid = 'pg_foreign_data_wrapper'::regclass and d.objid = w.oid and d.deptype = 'e')
union all
select 'foreign server ' || quote_ident(s.srvname), null, v.attribute, v.value
from pg_foreign_server s
cross join lateral (values
  ('owner', s.srvowner::regrole::text),
  ('wrapper', (select quote_ident(w.fdwname) from pg_foreign_data_wrapper w where w.oid = s.srvfdw)),
  ('type', s.srvtype), ('version', s.srvversion),
  ('options', (select string_agg(case when o ~* '^[^=]*(secret|password|token|key)' then split_part(o, '=', 1) || '=(hidden)' else o end, ', ' order by o)
    from unnest(s.srvoptions) o))
) v (attribute, value)
where v.value is not null
union all
-- What a mapping holds is how to log in elsewhere: only that it is there.
select 'foreign server ' || quote_ident(u.srvname), null, 'user mapping for ' || u.usename, 'yes' from pg_user_mappings u
union all
select 'language ' || quote_ident(l.lanname), null, v.attribute, v.value
from pg_language l
cross join lateral (values ('owner', l.lanowner::regrole::text), ('trusted', case when l.lanpltrusted then 'yes' else 'no' end)) v (attribute, value)
where l.lanispl
  and not exists (select from pg_depend d where d.classid = 'pg_language'::regclass and d.objid = l.oid and d.deptype = 'e')
union all
select 'cast from ' || format_type(c.castsource, null) || ' to ' || format_type(c.casttarget, null), null, v.attribute, v.value
from pg_cast c
cross join lateral (values
  ('by', case c.castmethod when 'f' then c.castfunc::regprocedure::text when 'i' then 'text' else 'binary' end),
  ('applied', case c.castcontext when 'e' then 'explicitly' when 'a' then 'in assignments' else 'implicitly' end)
) v (attribute, value)
where c.oid >= 16384
  and not exists (select from pg_depend d where d.classid = 'pg_cast'::regclass and d.objid = c.oid and d.deptype = 'e')
