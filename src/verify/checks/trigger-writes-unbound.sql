-- title: a trigger writes to tenants' tables with rights that no policy binds
-- severity: error
-- why: What it writes is checked by nothing but its own text. Where that finds rows by what two tenants may both have, a tenant's write changes another's rows.
-- bad: a SECURITY DEFINER trigger function of a superuser: update products set price = new.price where sku = new.sku
-- good: the same with `and tenant_id = new.tenant_id`, or owned by a role which FORCE binds
-- fix: Compare the tenant in each statement, and give the function an owner that FORCE binds.
-- source: PostgreSQL manual, CREATE FUNCTION
-- excepts: definer
-- needs: triggers, unbound-owners
with stirred as (
  -- The functions that a trigger runs, itself or by another.
  select t.tgname, t.tgrelid, t.tgtype, f.oid as function
  from pg_catalog.pg_trigger t join routine g on g.oid = t.tgfoid join routine f on f.oid = g.oid or f.oid = any (g.calls)
  where not t.tgisinternal and t.tgenabled <> 'D' and f.definer
)
select f.label as object, null as role, null as action,
       format('the trigger `%s` on `%s` runs it as `%s`, %s; it writes to `%s`%s', min(t.tgname), min(s.label), f.owner_name, min(x.why), r.label,
              case when bool_or(w.loose) then ', and finds rows there by what two tenants may both have' else '' end
              || coalesce(format(', and takes whose rows these are from any row of `%s`', min(w.taken_from)), '')) as detail,
       case when not bool_or(w.loose) and min(w.taken_from) is null then 'note' end as severity
from stirred t
join relation s on s.oid = t.tgrelid
join routine f on f.oid = t.function
join unbound_write x on x.function = f.oid
join relation r on r.oid = x.relation
cross join lateral (
  select r.key_kind in ('column', 'parent')
    and exists (select from can c join acting a on a.oid = c.acting and a.scope = 'tenant' where c.relation = s.oid
                and (t.tgtype & case c.privilege when 'INSERT' then 4 when 'DELETE' then 8 when 'UPDATE' then 16 else 0 end) <> 0) as writable) o
cross join lateral (
  -- Of the rows that an application role can have it write.
  select case when o.writable then (
      select min(y.label)
      from jsonb_to_recordset(f.spreads) as h(relation int8, "column" text, source int8) join relation y on y.oid = h.source::oid
      where h.relation::oid = r.oid and h."column" = r.key) end as taken_from,
    o.writable
    and exists (
      select from jsonb_to_recordset(f.changes) as h(relation int8, "equal" jsonb, asks boolean)
      where h.relation::oid = r.oid and h.asks and not h."equal" ? coalesce(r.key, '')
        and not coalesce(h."equal" ?| array(select jsonb_array_elements_text(r.parent_columns)), false)
        -- A key names one row, which whoever refers to it was let refer to.
        and not exists (select from unique_key u where u.relation = r.oid and h."equal" ?& u.columns)) as loose) w
where (t.tgtype & 64) = 0
group by f.label, f.owner_name, r.label
