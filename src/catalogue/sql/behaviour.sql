-- What acts on rows: policies, triggers, rules.
select format('policy %I on %s', p.polname, r.name) as object, r.object as parent, v.attribute, v.value
from pg_policy p join rels r on r.oid = p.polrelid
cross join lateral (values
  ('kind', case when p.polpermissive then 'permissive' else 'restrictive' end),
  ('command', case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end),
  ('roles', (select string_agg(o.name, ', ' order by o.name) from (
     select case role when 0 then 'public' else role::regrole::text end as name from unnest(p.polroles) role) o)),
  ('using', pg_get_expr(p.polqual, p.polrelid)),
  ('with check', pg_get_expr(p.polwithcheck, p.polrelid))
) v (attribute, value)
where v.value is not null
union all
select format('trigger %I on %s', t.tgname, r.name), r.object, v.attribute, v.value
from pg_trigger t join rels r on r.oid = t.tgrelid
cross join lateral (values
  ('definition', pg_get_triggerdef(t.oid)),
  ('enabled', case t.tgenabled when 'O' then 'yes' when 'A' then 'always' when 'R' then 'on a replica' else 'no' end),
  ('partition of', case when t.tgparentid <> 0 then (select p.tgrelid::regclass::text from pg_trigger p where p.oid = t.tgparentid) end)
) v (attribute, value)
where v.value is not null and not t.tgisinternal
union all
select format('rule %I on %s', w.rulename, r.name), r.object, v.attribute, v.value
from pg_rewrite w join rels r on r.oid = w.ev_class
cross join lateral (values
  ('definition', pg_get_ruledef(w.oid)),
  ('enabled', case w.ev_enabled when 'O' then 'yes' when 'A' then 'always' when 'R' then 'on a replica' else 'no' end)
) v (attribute, value)
where w.rulename <> '_RETURN'
