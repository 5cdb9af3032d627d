-- What is switched off, changed or owned by another role of all that writes and guards the trail: where, what.
-- $1, $2: names and bodies of the functions that the migrations made.
with recursive kept as (
  select c.oid, c.relname::text as name, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relispartition
  from pg_class c
  where c.oid in (select t.relid from pg_partition_tree('public.audit_events') t)
     or c.oid in ('public.note_versions'::regclass, 'public.audit_seals'::regclass, 'public.audit_keys'::regclass)
), clinics as (
  -- Tables of a clinic: those whose first key column is the tenant.
  select c.oid, c.relname::text as name
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.oid not in (select k.oid from kept k where k.name <> 'note_versions')
), writers as (
  select p.oid, p.proname, p.proowner, p.prosrc, m.body from pg_proc p
  join unnest($1::text[], $2::text[]) m (name, body) on m.name = p.proname
  where p.pronamespace = 'public'::regnamespace
), hooks as (
  -- Everything that runs by itself when somebody reads or writes, with its text.
  select h.place, h.what, h.class, h.object, h.body
  from (
    select t.tgrelid as place, 'the trigger ' || t.tgname as what, 'pg_trigger'::regclass as class, t.oid as object,
      pg_get_triggerdef(t.oid) as body
    from pg_trigger t where not t.tgisinternal
    union all
    select d.adrelid, 'the default of ' || a.attname, 'pg_attrdef'::regclass, d.oid, pg_get_expr(d.adbin, d.adrelid)
    from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    union all
    select n.conrelid, 'the constraint ' || n.conname, 'pg_constraint'::regclass, n.oid, pg_get_constraintdef(n.oid)
    from pg_constraint n where n.contype = 'c'
    union all
    select p.polrelid, 'the policy ' || p.polname, 'pg_policy'::regclass, p.oid,
      concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    from pg_policy p
    union all
    select w.ev_class, 'the rule ' || w.rulename, 'pg_rewrite'::regclass, w.oid, pg_get_ruledef(w.oid)
    from pg_rewrite w where w.ev_class >= 16384 -- not those of the server, whose text takes long
    union all
    select i.indrelid, 'the index ' || i.indexrelid::regclass, 'pg_class'::regclass, i.indexrelid, pg_get_indexdef(i.indexrelid)
    from pg_index i where i.indexprs is not null or i.indpred is not null
  ) h
  join pg_class c on c.oid = h.place and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
), bodies as (
  select p.oid, p.oid::regprocedure as shown, p.proname, coalesce(nullif(p.prosrc, ''), pg_get_function_sqlbody(p.oid)) as body,
    -- Who acts is a setting: these set one, or could. Those of the trail itself are compared with the migrations.
    l.lanname not in ('sql', 'plpgsql')
      or coalesce(nullif(p.prosrc, ''), pg_get_function_sqlbody(p.oid))
         ~* 'set_config|\mexecute\M|\mset\s+(local\s+|session\s+)?"?app"?\s*\.'
      or exists (select from unnest(p.proconfig) s where s ~* '^app\.') as may_set
  from pg_proc p join pg_language l on l.oid = p.prolang
  where p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    and l.lanname not in ('c', 'internal') and p.oid not in (select w.oid from writers w)
), reached as (
  select h.place, h.what, b.oid, b.shown, b.body, b.may_set
  from hooks h
  join pg_depend d on d.classid = h.class and d.objid = h.object and d.refclassid = 'pg_proc'::regclass
  join bodies b on b.oid = d.refobjid
  union
  select r.place, r.what, b.oid, b.shown, b.body, b.may_set
  from reached r
  join bodies b on r.body ~* ('\m' || regexp_replace(b.proname, '(\W)', '\\\1', 'g') || '"?\s*\(')
)
select k.name, 'belongs to ' || k.relowner::regrole || ', not to kine_audit' from kept k
where k.relowner <> 'kine_audit'::regrole
union all
select k.name, 'row security is not forced' from kept k where not (k.relrowsecurity and k.relforcerowsecurity)
union all
select k.name, 'its guard ' || g.name || ' is missing or switched off'
from kept k cross join (values ('worm_row'), ('worm_statement')) g (name)
where not exists (
  select from pg_trigger t join writers w on w.oid = t.tgfoid and w.proname = 'refuse_change'
  where t.tgrelid = k.oid and t.tgname = g.name and t.tgenabled = 'A')
  and not (g.name = 'worm_row' and k.name = 'audit_events')
union all
select c.name, 'no trigger that is switched on records ' || o.name || 's of its rows'
from clinics c cross join (values ('insert', 4), ('update', 16), ('delete', 8)) o (name, bit)
where not exists (
  select from pg_trigger t join writers w on w.oid = t.tgfoid and w.proname = 'record_audit_event'
  where t.tgrelid = c.oid and t.tgenabled in ('O', 'A') and t.tgqual is null and t.tgattr = ''::int2vector and t.tgtype & o.bit > 0)
  and not (o.name <> 'insert' and c.name = 'note_versions')
union all
select r.name, 'the rule ' || w.rulename || ' rewrites what is written to it'
from (select k.oid, k.name from kept k union select c.oid, c.name from clinics c) r
join pg_rewrite w on w.ev_class = r.oid and w.ev_type in ('2', '3', '4')
union all
select 'notes', 'the trigger ' || g.name || ' that keeps versions is missing or switched off'
from (values ('record_first_version'), ('record_next_version')) g (name)
where not exists (
  select from pg_trigger t join writers w on w.oid = t.tgfoid and w.proname = 'record_note_version'
  where t.tgrelid = 'public.notes'::regclass and t.tgname = g.name and t.tgenabled in ('O', 'A'))
union all
select regexp_replace(w.oid::regprocedure::text, '^public\.', ''), 'belongs to ' || w.proowner::regrole || ', not to kine_audit' from writers w
where w.proowner <> 'kine_audit'::regrole
union all
select regexp_replace(w.oid::regprocedure::text, '^public\.', ''), 'its body is not the one that the migrations made'
from writers w where w.prosrc <> w.body
union all
select m.name, 'the function is missing' from unnest($1::text[]) m (name)
where not exists (select from writers w where w.proname = m.name)
union all
select 'role ' || m.member::regrole, 'is a member of kine_audit' from pg_auth_members m
where m.roleid = 'kine_audit'::regrole
  -- From PostgreSQL 16 on the creator of a role is its member, with ADMIN and nothing else.
  and not (m.admin_option and coalesce(to_jsonb(m) ->> 'inherit_option', 'true') = 'false'
           and coalesce(to_jsonb(m) ->> 'set_option', 'true') = 'false')
union all
select h.place::regclass::text, h.what || ' may change who acts: it sets a setting'
from hooks h where h.body ~* 'set_config\s*\('
union all
select r.place::regclass::text, r.what || ' may change who acts: it calls ' || r.shown from reached r where r.may_set
order by 1, 2
