-- Events that no seal covers although their transaction lies in a sealed range: where they are.
with seals as (
  select s.*,
    coalesce(
      min(s.adopts_from) filter (where s.kind = 'adopted')
        over (order by s.number rows between current row and unbounded following),
      case when s.cluster <> $2 then (
        select coalesce(l.adopts_from, l.sealed_at) from public.audit_seals l
         where l.tenant_id = s.tenant_id and l.kind <> 'retired' order by l.number desc limit 1) end) as ends_at,
    exists (select from public.audit_seals r
             where r.tenant_id = s.tenant_id and r.month = s.month and r.kind = 'retired' and r.number > s.number) as retired
  from public.audit_seals s
  where s.tenant_id = $1::uuid and s.kind <> 'retired'
), last as (
  select s.* from seals s order by s.number desc limit 1
)
select to_char(min(e.occurred_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), to_char(max(e.occurred_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
from public.audit_events e
cross join last l
where e.tenant_id = $1::uuid
  and (e.txid < l.until_txid or l.kind = 'adopted')
  and not exists (
    select from seals s
    where not s.retired
      and (e.occurred_at, e.id) > (s.after_at, s.after_id) and (e.occurred_at, e.id) <= (s.upto_at, s.upto_id)
      and e.occurred_at >= s.from_at
      and case s.kind
            when 'adopted' then (e.txid >= s.since_txid or e.occurred_at >= s.adopts_from) and e.occurred_at < s.adopts_to
            else e.txid >= s.since_txid and e.txid < s.until_txid and (s.ends_at is null or e.occurred_at < s.ends_at)
          end)
