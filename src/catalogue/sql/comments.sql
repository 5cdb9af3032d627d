-- Comments of everything that the other parts describe.
, described (class, oid, sub, object, parent) as (
  select 'pg_class'::regclass, r.oid, 0, r.object, null::text from rels r where r.relkind <> 'c'
  union all
  select 'pg_class'::regclass, r.oid, a.attnum, 'column ' || r.name || '.' || quote_ident(a.attname), r.object
  from rels r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  union all
  select 'pg_class'::regclass, i.oid, 0, 'index ' || format('%I.%I', n.nspname, i.relname), r.object
  from pg_index x join rels r on r.oid = x.indrelid join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
  union all select 'pg_proc'::regclass, f.oid, 0, f.object, null from funs f
  union all select 'pg_type'::regclass, t.oid, 0, t.object, null from typs t
  union all select 'pg_namespace'::regclass, s.oid, 0, 'schema ' || quote_ident(s.nspname), null from spaces s
  union all select 'pg_constraint'::regclass, c.oid, 0, c.object, c.parent from cons c
  union all select 'pg_policy'::regclass, p.oid, 0, format('policy %I on %s', p.polname, r.name), r.object from pg_policy p join rels r on r.oid = p.polrelid
  union all select 'pg_trigger'::regclass, t.oid, 0, format('trigger %I on %s', t.tgname, r.name), r.object from pg_trigger t join rels r on r.oid = t.tgrelid
  union all select 'pg_rewrite'::regclass, w.oid, 0, format('rule %I on %s', w.rulename, r.name), r.object from pg_rewrite w join rels r on r.oid = w.ev_class
  union all select 'pg_extension'::regclass, e.oid, 0, 'extension ' || quote_ident(e.extname), null from pg_extension e where e.extname <> 'plpgsql'
  union all select 'pg_event_trigger'::regclass, e.oid, 0, 'event trigger ' || quote_ident(e.evtname), null from pg_event_trigger e
  union all select 'pg_publication'::regclass, p.oid, 0, 'publication ' || quote_ident(p.pubname), null from pg_publication p
  union all
  select 'pg_statistic_ext'::regclass, s.oid, 0, format('statistics %I.%I', n.nspname, s.stxname), r.object
  from pg_statistic_ext s join rels r on r.oid = s.stxrelid join pg_namespace n on n.oid = s.stxnamespace
)
select o.object, o.parent, 'comment' as attribute, d.description as value
from described o join pg_description d on d.classoid = o.class and d.objoid = o.oid and d.objsubid = o.sub
-- An extension's own comment comes with its version.
where o.class <> 'pg_extension'::regclass
