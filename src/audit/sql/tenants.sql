-- Every clinic that has a row, a seal or an event; the last by skipping from one to the next in the index.
with recursive seen as (
  (select e.tenant_id from public.audit_events e order by e.tenant_id limit 1)
  union all
  select (select e.tenant_id from public.audit_events e where e.tenant_id > s.tenant_id order by e.tenant_id limit 1)
  from seen s where s.tenant_id is not null
)
select tenant_id from seen where tenant_id is not null
union
select s.tenant_id from public.audit_seals s where s.number = 1
union
select t.tenant_id from public.tenants t
order by 1
