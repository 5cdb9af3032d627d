-- title: a policy lets rows of other tenants through
-- severity: error
-- why: Permissive policies are joined by OR: one alternative that does not compare the row with the session's tenant is enough, also one that no row matches today.
-- bad: create policy vip on patients for select using (status = 'vip');
-- good: create policy vip on patients as restrictive for select using (status = 'vip');
-- fix: Compare the tenant column in every alternative, put brackets around OR, or make the policy restrictive.
-- source: PostgreSQL manual, CREATE POLICY, "Application of Multiple Policies"
-- excepts: global-read
-- needs: open-policies
select r.label as object, w.acting_name as role, lower(w.privilege) as action,
       format('policy `%s`%s: `%s` holds for rows of any tenant%s', w.name,
              case when w.part = 'check' then ' accepts new rows' else '' end, string_agg(distinct w.text, '` or `'), min(w.via)) as detail,
       format('alter policy %I on %s %s (... and the tenant column compared with the session);', w.name, r.label, case when w.part = 'check' then 'with check' else 'using' end) as fix,
       -- A new row there is a new tenant.
       case when w.privilege = 'INSERT' and r.oid = (select (j->'tenants'->'table'->>0)::oid from scope) and r.key = (select j->'tenants'->'table'->>1 from scope) then 'note' end as severity
from way w join relation r on r.oid = w.relation
where r.tenanted and w.kind in ('true', 'row', 'table')
  -- Shared rows that the file declares are read by all, and written by none.
  and not (w.privilege = 'SELECT' and exists (
    select from scope, jsonb_array_elements(j->'declared') d
    where (d->>0)::oid = w.relation and d->>1 = w.text and coalesce(d->>2, w.acting_name) = w.acting_name))
group by r.label, r.oid, r.key, w.acting_name, w.privilege, w.name, w.part
union all
-- A row is moved out of its owner's hands where the check forgets what the policy asks of the old row.
select distinct r.label, c.acting_name, 'update', format('policy `%s` checks new rows without `%s`, which is part of whose they are%s', p.name, x, c.via),
       format('alter policy %I on %s with check (... and %I compared with the session);', p.name, r.label, x), null
from policy p
join relation r on r.oid = p.relation and r.key_kind = 'owns'
join applies a on a.policy = p.oid
join can c on c.acting = a.acting and c.member = a.member and c.relation = r.oid and c.privilege = 'UPDATE'
cross join lateral jsonb_array_elements_text(p."using"->'session_columns') x
join pg_catalog.pg_attribute t on t.attrelid = r.oid and t.attname = x and has_column_privilege(c.member, r.oid, t.attnum, 'UPDATE')
where p.permissive and p.has_check and p.command in ('*', 'w') and r.owns ~ ('\m' || x || '\M')
  and p."check"->'open' = '[]' and p."check"->>'text' <> 'false' and not p."check"->'tied_columns' ? x and not p."check"->'tied_columns' ? '*'
  and not exists (select from closed k where k.acting = c.acting and k.member = c.member and k.relation = r.oid and k.privilege = 'UPDATE' and k.part = 'check')
