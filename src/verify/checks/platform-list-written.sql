-- title: the application can put itself into what opens every tenant
-- severity: error
-- why: Where a policy asks only whether the user stands in a list, or bears a mark, whoever can write that is given every tenant.
-- bad: create policy self on platform_admins for insert with check (user_id = auth.uid());
-- good: revoke insert, update on platform_admins from app; grant update (full_name) on profiles to app;
-- fix: Revoke the writes, or those of the columns that decide.
-- source: PostgreSQL manual, CREATE POLICY
-- needs: ways, reading-policies, roles
with opening as materialized (
  -- What a session's state opens, and the tables that its functions, or it itself, ask.
  select distinct w.acting, w.relation, w.name, w.text, f.oid as function, coalesce(f.prosrc, w.text) as source, l.oid as list
  from way w
  join relation r on r.oid = w.relation and r.tenanted
  join predicate p on p.policy = w.policy and p.part = w.part and p.privilege = w.privilege
  left join lateral (
    select f.* from jsonb_array_elements_text(p.body->'functions') x(o) join routine f on f.oid = x.o::oid
    where f.reads <> '{}' and w.text ~ ('\m' || regexp_replace(split_part(f.label, '(', 1), '^.*\.', '') || '\(')) f on true
  join relation l on l.stored and l.oid <> w.relation
    and case when f.oid is null then p.body->'reads' ? l.oid::text and w.text ~ ('\m' || regexp_replace(l.label, '^.*\.', '') || '\M')
             else l.oid = any (f.reads) end
  where w.kind = 'session'
),
marks as materialized (
  -- Columns of the list that are asked for, but for the user's own.
  select distinct o.acting, o.function, o.text, o.list, k.attname::text as name, k.attnum as number
  from opening o join pg_catalog.pg_attribute k on k.attrelid = o.list and k.attnum > 0 and not k.attisdropped
  where o.source ~ ('\m' || k.attname || '\M')
    and o.source !~* ('\m' || k.attname || '\M\)*(::\w+)?\s*=\s*\(*\s*(select\s+)?[\w.]+\(')
    and o.source !~* ('\(\)\)*(::\w+)?\s*=\s*\(?(\w+\.)*' || k.attname || '\M')
)
select l.label as object, c.acting_name as role, lower(c.privilege) as action,
       format('`%s` may %s there, and its policies leave that to the user; policy `%s` on `%s` opens every tenant by `%s`%s',
              c.acting_name, lower(c.privilege), min(o.name), min(r.label), min(o.text), min(c.via)) as detail,
       format('revoke %s on %s from %I;', lower(c.privilege), l.label, c.acting_name) as fix
from opening o
join relation r on r.oid = o.relation
join relation l on l.oid = o.list
join can c on c.relation = l.oid and c.acting = o.acting and c.privilege in ('INSERT', 'UPDATE')
where (not l.rls and c.privilege = 'INSERT')
   or exists (
     select from predicate q join applies a on a.policy = q.policy and a.acting = c.acting and a.member = c.member
     cross join lateral (
       -- It asks the list itself, or by the same function.
       select q.body->'reads' ? l.oid::text as asks, q.body->'tied_columns' as tied) t
     where l.rls and q.relation = l.oid and q.permissive and q.privilege = c.privilege and q.part = 'check' and q.body->>'text' <> 'false'
       -- Whoever runs the platform may; a tie to the user beside that, or a row of any kind, lets others.
       and (q.body @? '$.open[*] ? (@.kind != "session")' or t.tied <> '[]' and not (q.body->'open' = '[]' and t.asks))
       and case c.privilege
           when 'INSERT' then not exists (select from marks m where m.list = l.oid and m.acting = o.acting and m.text = o.text and not t.tied ? m.name)
             or exists (select from marks m where m.list = l.oid and m.acting = o.acting and m.text = o.text and not t.tied ? m.name
                        and has_column_privilege(c.member, l.oid, m.number, 'INSERT') and q.body->>'text' !~ ('\m' || m.name || '\M'))
           else exists (select from marks m where m.list = l.oid and m.acting = o.acting and m.text = o.text and not t.tied ? m.name
                        and has_column_privilege(c.member, l.oid, m.number, 'UPDATE') and q.body->>'text' !~ ('\m' || m.name || '\M')) end)
  and not exists (select from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises
       where t.tgrelid = l.oid and (t.tgtype & 2) <> 0 and t.tgenabled <> 'D'
         and (exists (select from marks m where m.list = l.oid and f.prosrc ~ ('\m' || m.name || '\M'))))
group by l.label, c.acting_name, c.privilege
