-- How many events of a clinic there are, and how many of them are younger than its last seal. $2 is this cluster.
with last as (
  select s.* from public.audit_seals s
  where s.tenant_id = $1::uuid and s.kind <> 'retired' order by s.number desc limit 1
)
select count(*),
  count(*) filter (where case
    when l.number is null then true
    when l.kind = 'adopted' then e.occurred_at >= l.adopts_to
      or (not l.closes and (e.occurred_at, e.id) > (l.upto_at, l.upto_id)
          and (e.txid >= l.since_txid or e.occurred_at >= l.adopts_from))
    when l.cluster <> $2 or l.adopts_from is not null then
      e.txid >= l.until_txid or e.occurred_at >= coalesce(l.adopts_from, l.sealed_at)
      or (not l.closes and e.txid >= l.since_txid and (e.occurred_at, e.id) > (l.upto_at, l.upto_id))
    else e.occurred_at >= l.from_at
      and (e.txid >= l.until_txid
           or (not l.closes and e.txid >= l.since_txid and (e.occurred_at, e.id) > (l.upto_at, l.upto_id)))
  end),
  to_char(min(e.occurred_at) filter (where e.txid >= coalesce(l.until_txid, 0)), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
from public.audit_events e
left join last l on true
where e.tenant_id = $1::uuid
