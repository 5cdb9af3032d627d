-- title: a policy finds a row's tenant by what two tenants may both have
-- severity: error
-- why: Where no unique key says that one row alone is found, a tenant that has the same code, or takes it, reaches the rows of the others.
-- bad: using (exists (select from plans p where p.code = rates.code and p.tenant_id = ...))  -- unique (tenant_id, code)
-- good: using (exists (select from plans p where p.tenant_id = rates.tenant_id and p.code = rates.code and p.tenant_id = ...))
-- fix: Give the table a tenant column of its own and join by it too, or join by a key that is unique among all tenants.
-- source: PostgreSQL manual, CREATE POLICY
-- excepts: shared-rows
-- needs: joining-policies, roles
with found as (
  -- Each table that a row's tenant is found by, and whether what is compared tells one row of one tenant.
  select p.policy, p.relation, p.name, p.privilege, g.ordinality as alternative, s.label, t.theirs,
         exists (select from pg_catalog.pg_constraint k where k.contype = 'f' and k.conrelid = s.oid and k.confrelid = p.relation) as link,
         s.key_kind not in ('column', 'parent', 'owns') or t.theirs ? s.key
           -- Who somebody is is the same in every tenant.
           or t.theirs::text ~ '(user|uid|actor|email|person|profile)'
           or exists (select from unique_key u where u.relation = s.oid and t.theirs ?& u.columns)
           -- It names the row of its own accord: that is how rows are shared.
           or exists (select from pg_catalog.pg_constraint k where k.contype = 'f' and k.conrelid = s.oid and k.confrelid = p.relation
                and not exists (select from unnest(k.conkey) n join pg_catalog.pg_attribute a on a.attrelid = s.oid and a.attnum = n where not t.theirs ? a.attname::text))
           -- Without a tenant that it names, it is whoever may see it that counts.
           or s.key_kind = 'owns' and not exists (select from pg_catalog.pg_constraint k where k.contype = 'f' and k.conrelid = s.oid and k.confrelid = p.relation)
           -- Both name a third thing.
           or exists (select from pg_catalog.pg_constraint a join pg_catalog.pg_constraint b on b.confrelid = a.confrelid and b.contype = 'f' and b.conrelid = s.oid
                where a.contype = 'f' and a.conrelid = p.relation and a.confrelid <> s.oid and a.confrelid is distinct from (select (j->'tenants'->'table'->>0)::oid from scope)
                  and exists (select from jsonb_array_elements(x->'pairs') e, pg_catalog.pg_attribute m, pg_catalog.pg_attribute n
                    where m.attrelid = a.conrelid and m.attnum = a.conkey[1] and m.attname = e->>0 and n.attrelid = b.conrelid and n.attnum = b.conkey[1] and n.attname = e->>1)) as tells
  from predicate p
  cross join lateral jsonb_array_elements(p.body->'joins') with ordinality g(tie, ordinality)
  cross join lateral jsonb_array_elements(g.tie) x
  join relation s on s.oid = (x->>'relation')::oid and s.stored and s.oid <> p.relation
  cross join lateral (select coalesce(jsonb_agg(e->>1), '[]') as theirs from jsonb_array_elements(x->'pairs') e) t
  where p.permissive and p.body->'joins' <> '[]'
)
select r.label as object, c.acting_name as role, min(lower(c.privilege)) as action,
       format('policy `%s` finds the tenant of a row by %s of `%s`, %s%s', f.name,
              (select string_agg(format('`%s`', e), ', ') from jsonb_array_elements_text(f.theirs) e), f.label,
              case when f.link then 'which does not name one row alone' else 'and two tenants may both have the same there' end, c.via) as detail
from found f
join relation r on r.oid = f.relation and r.tenanted and r.stored and r.rls
join applies a on a.policy = f.policy
join can c on c.relation = r.oid and c.acting = a.acting and c.member = a.member and c.privilege = f.privilege
join acting n on n.oid = c.acting and n.scope = 'tenant'
where not exists (select from found o where o.policy = f.policy and o.privilege = f.privilege and o.alternative = f.alternative and o.tells)
  and not exists (select from closed k where k.acting = c.acting and k.member = c.member and k.relation = r.oid and k.privilege = c.privilege)
group by r.label, c.acting_name, f.name, f.theirs, f.label, f.link, c.via
