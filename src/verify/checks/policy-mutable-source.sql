-- title: the application can change the table that decides whose rows it sees
-- severity: error
-- why: Where a policy looks up membership, whoever can write the membership becomes a member of any tenant.
-- bad: grant insert on memberships to app;  -- and no policy that ties new rows to the session's tenant
-- good: grant select on memberships to app;
-- fix: Revoke the writes, or bind them by policies that compare the tenant column with the session.
-- source: PostgreSQL manual, CREATE POLICY
-- needs: reading-policies, roles
with h(relation, link, refers, stamp) as (
  select (r->>'oid')::oid, (x->>'link')::oid, x->>'refers', x->>'stamp'
  from scope, jsonb_array_elements(j->'relations') r, jsonb_array_elements(r->'shared') x
)
, ranks(relation, name, number) as (
  -- Columns whose values include ranks that open every tenant.
  select k.attrelid, k.attname, k.attnum from scope, jsonb_array_elements(j->'ranks') x
  join pg_catalog.pg_attribute k on k.attrelid = (x->>0)::oid and k.attname = x->>1
)
select distinct r.label as object, c.acting_name as role, 'select' as action,
       format('policy `%s` reads `%s`, and `%s` may %s there%s%s', p.name, s.label, c.acting_name, lower(c.privilege),
              case when not s.rls then ', without row level security'
                   when exists (select from ranks k where k.relation = s.oid) then ', where its policies leave open which rank a row gives or for which tenant'
                   else ', where its policies do not compare the tenant column' end, c.via) as detail,
       format('revoke insert, update on %s from %I;', s.label, c.acting_name) as fix
from predicate p
join relation r on r.oid = p.relation and r.tenanted
cross join lateral jsonb_array_elements_text(p.body->'reads') x(base)
join relation s on s.oid = x.base::oid and s.oid <> r.oid and s.stored
join can c on c.relation = s.oid and c.privilege in ('INSERT', 'UPDATE')
where p.permissive
  -- A new tenant is nobody's yet.
  and not (c.privilege = 'INSERT' and s.rls and s.oid is not distinct from (select (j->'tenants'->'table'->>0)::oid from scope))
  and exists (select from can y where y.relation = r.oid and y.acting = c.acting)
  and (not s.rls
       -- What shares a row out must be held to own rows, whomever it names.
       or exists (
            select from h join predicate q on q.relation = s.oid and q.permissive and q.privilege = c.privilege and q.part = 'check'
            join applies a on a.policy = q.policy and a.acting = c.acting and a.member = c.member
            where h.link = s.oid and h.relation = r.oid
              and q.body->'open' = '[]' and q.body->>'text' <> 'false' and not q.body->'tied_columns' ? h.refers and not q.body->'tied_columns' ? '*'
              -- A reference that holds the tenant leads to own rows where that is compared.
              and not coalesce(q.body->'tied_columns' ? h.stamp, false))
       -- What a session's state opens is told as that, of the table itself.
       or exists (select from way w where w.relation = s.oid and w.acting = c.acting and w.privilege = c.privilege and w.part = 'check' and w.kind <> 'session')
       -- Who may not write the key of a row that exists makes it nobody else's.
       or s.key is not null and not exists (select from h where h.link = s.oid and h.relation = r.oid)
          and (c.privilege = 'INSERT' or exists (select from pg_catalog.pg_attribute k where k.attrelid = s.oid and k.attname = s.key and has_column_privilege(c.member, s.oid, k.attnum, 'UPDATE'))) and exists (
            select from predicate q join applies a on a.policy = q.policy and a.acting = c.acting and a.member = c.member
            where q.relation = s.oid and q.permissive and q.privilege = c.privilege and q.part = 'check'
              and q.body->'open' = '[]' and q.body->>'text' <> 'false' and not (q.body->'tied_columns' ? s.key) and not (q.body->'tied_columns' ? '*'))
       -- A rank that opens every tenant: which rank a row holds must be checked as well.
       or exists (
            select from ranks k join predicate q on q.relation = s.oid and q.permissive and q.privilege = c.privilege and q.part = 'check'
            join applies a on a.policy = q.policy and a.acting = c.acting and a.member = c.member
            where k.relation = s.oid and has_column_privilege(c.member, s.oid, k.number, c.privilege)
              and q.body->'open' = '[]' and q.body->>'text' <> 'false'
              -- A type may be called like the column.
              and regexp_replace(q.body->>'text', '::("?\w+"?\.)?"?\w+"?', '', 'g') !~ ('\m' || k.name || '\M')
              and not exists (select from predicate n where n.relation = s.oid and not n.permissive and n.privilege = c.privilege and regexp_replace(n.body->>'text', '::("?\w+"?\.)?"?\w+"?', '', 'g') ~ ('\m' || k.name || '\M'))
              and not exists (select from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises
                   where t.tgrelid = s.oid and (t.tgtype & 2) <> 0 and t.tgenabled <> 'D' and f.prosrc ~ ('\m' || k.name || '\M')))
       -- A user's own row that names the tenant: which one it names must be checked as well.
       or s.key_kind = 'owns' and not exists (select from h where h.link = s.oid and h.relation = r.oid) and exists (
            select from (
              select k.attname, k.attnum from pg_catalog.pg_attribute k
              where k.attrelid = s.oid and k.attnum > 0 and not k.attisdropped
                and (exists (select from relation z, scope where z.key = k.attname and z.oid is distinct from (j->'tenants'->'table'->>0)::oid) or exists (select from pg_catalog.pg_constraint f, scope
                     where f.contype = 'f' and f.conrelid = s.oid and f.conkey = array[k.attnum] and f.confrelid = (j->'tenants'->'table'->>0)::oid))) k
            where has_column_privilege(c.member, s.oid, k.attnum, c.privilege)
              and (p.body->>'text' ~ ('\m' || k.attname || '\M')
                   or exists (select from jsonb_array_elements_text(p.body->'functions') g(f) join routine h on h.oid = g.f::oid where h.prosrc ~ ('\m' || k.attname || '\M')))
              and not exists (select from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises
                   where t.tgrelid = s.oid and (t.tgtype & 2) <> 0 and t.tgenabled <> 'D' and f.prosrc ~ ('\m' || k.attname || '\M'))
            having count(*) > 0 and exists (select from predicate q join applies a on a.policy = q.policy and a.acting = c.acting and a.member = c.member
                   where q.relation = s.oid and q.permissive and q.privilege = c.privilege and q.part = 'check'
                     and q.body->'open' = '[]' and q.body->>'text' <> 'false' and not q.body->'tied_columns' ? '*'
                     and not q.body->'tied_columns' ?| array(
                       select t.attname::text from pg_catalog.pg_attribute t
                       where t.attrelid = s.oid and t.attnum > 0
                         and (exists (select from relation z, scope where z.key = t.attname and z.oid is distinct from (j->'tenants'->'table'->>0)::oid) or exists (select from pg_catalog.pg_constraint f, scope
                              where f.contype = 'f' and f.conrelid = s.oid and f.conkey = array[t.attnum] and f.confrelid = (j->'tenants'->'table'->>0)::oid))))))
