-- title: rows without a tenant are shared by all
-- severity: error
-- why: A row whose tenant is NULL is seen by every tenant; where tenants may write such rows, each writes to all.
-- bad: create policy p on templates using (tenant_id is null or tenant_id = ...);
-- good: one policy for select with the alternative, and others without it for insert, update and delete
-- fix: Keep `is null` out of the policies that write; declare shared rows as an exception.
-- source: PostgreSQL manual, CREATE POLICY
-- excepts: shared-rows
-- needs: ways
select r.label as object, w.acting_name as role, min(lower(w.privilege)) as action,
       format('policy `%s`: `%s` lets `%s` %s rows that every tenant shares', w.name, w.text, w.acting_name, string_agg(distinct lower(w.privilege), ', ')) as detail,
       case when bool_or(w.rank > 1) then 'error' else 'warning' end as severity
from way w join relation r on r.oid = w.relation
where r.tenanted and w.kind = 'shared-rows' and (r.key_nullable or r.key is null)
group by r.label, w.acting_name, w.name, w.text
