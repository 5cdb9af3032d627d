-- title: whom a row is shared with may change or delete it
-- severity: error
-- why: Sharing says who may see a row. A policy for all commands lets the same tenants change it and take it away from its owner. It is an error also where sharing is meant to be in full, because nothing in the schema says so and a write into another tenant's rows cannot be taken back: a column of the share that the policy asks for, or an exception with its reason, says it.
-- bad: create policy shared on documents using (exists (select from shares s where s.document_id = documents.id and s.to_tenant = ...));
-- good: create policy shared on documents for select using (exists (select from shares s where s.document_id = documents.id and s.to_tenant = ...));
-- fix: Make the policy one for select, or ask in it for a column of the share that says who may write; declare it as an exception where every share is meant to.
-- source: PostgreSQL manual, CREATE POLICY
-- excepts: shared-rows
-- needs: joining-policies, roles
with h(relation, link, receiver) as (
  select (r->>'oid')::oid, (x->>'link')::oid, x->>'receiver'
  from scope, jsonb_array_elements(j->'relations') r, jsonb_array_elements(r->'shared') x
)
select r.label as object, c.acting_name as role, min(lower(c.privilege)) as action,
       format('policy `%s` lets `%s` %s rows that a row of `%s` shares with it%s', p.name, c.acting_name, string_agg(distinct lower(c.privilege), ' and '), s.label, c.via) as detail,
       format('alter policy %I on %s using (... and %I compared with the session);  -- and one for select that shares', p.name, r.label, r.key) as fix
from predicate p
join relation r on r.oid = p.relation and r.tenanted and r.stored and r.rls and r.key is not null
cross join lateral jsonb_array_elements(p.body->'joins') tie
join h on h.relation = r.oid
join relation s on s.oid = h.link
join applies a on a.policy = p.policy
join can c on c.relation = r.oid and c.acting = a.acting and c.member = a.member and c.privilege = p.privilege
join acting n on n.oid = c.acting and n.scope = 'tenant'
where p.permissive and p.part = 'using' and p.privilege in ('UPDATE', 'DELETE')
  -- Users who work together on a row are another matter than tenants who see it.
  and h.receiver !~ '(user|uid|actor|email|person|profile)'
  and jsonb_array_length(tie) = 1 and (tie->0->>'relation')::oid = s.oid
  -- A column that says what the share is for.
  and tie->0->'others' <@ jsonb_build_array(h.receiver)
  and not exists (select from closed k where k.acting = c.acting and k.member = c.member and k.relation = r.oid and k.privilege = c.privilege)
group by r.label, r.key, c.acting_name, p.name, s.label, c.via
