-- Every seal of one clinic in order, with the hash it must have and what is found of its events now.
-- Uses nothing that the database could have replaced: built-in functions, and names with their schema.
-- $2 is this cluster: what another one sealed ends where its last seal was written.
-- Assumes timezone UTC, datestyle ISO and client encoding UTF8, as the seals were written.
-- $3, $4: the first and the last seal that are wanted.
-- Kept apart from the rest, so that nothing of it is worked out anew for each event.
with gone as materialized (
  select r.month, max(r.number) as number from public.audit_seals r
  where r.tenant_id = $1::uuid and r.kind = 'retired' group by r.month
), marked as (
  select s.*,
    coalesce(
      min(s.adopts_from) filter (where s.kind = 'adopted')
        over (order by s.number rows between current row and unbounded following),
      case when s.cluster <> $2 then (
        select coalesce(l.adopts_from, l.sealed_at) from public.audit_seals l
         where l.tenant_id = s.tenant_id and l.kind <> 'retired' order by l.number desc limit 1) end) as ends_at,
    s.kind = 'retired' or coalesce(g.number > s.number, false) as retired
  from public.audit_seals s
  left join gone g on g.month = s.month
  where s.tenant_id = $1::uuid
), seals as materialized (
  select * from marked m where m.number between $3 and $4
)
select s.number, s.kind, s.month::text, s.events, s.closes, s.retired, s.cluster, s.until_txid,
  to_char(s.sealed_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  s.prev_hash, s.hash,
  pg_catalog.sha256(coalesce(s.prev_hash, ''::bytea) || pg_catalog.convert_to(row(
    s.tenant_id, s.number, s.kind, s.cluster, s.month, s.since_txid, s.until_txid, s.seen_txid,
    s.after_at, s.after_id, s.upto_at, s.upto_id, s.closes, s.from_at, s.adopts_from, s.adopts_to, s.next_from,
    s.opened_at, s.events, pg_catalog.encode(s.digest, 'hex'), s.sealed_at)::text, 'UTF8')) as must_be,
  s.digest, d.events, d.digest,
  to_char(d.first_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), to_char(d.last_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
from seals s
cross join lateral (
  select count(*) as events,
    pg_catalog.sha256(coalesce(string_agg(l.line, ''), '')) as digest,
    min(l.occurred_at) as first_at, max(l.occurred_at) as last_at
  from (
    select e.occurred_at, pg_catalog.record_send(row(
      e.occurred_at, e.id, e.action, e.table_name, e.row_id, e.actor_id, e.db_user, e.changed_columns,
      e.txid, e.application_name, e.system_actor, e.digests)) as line
    from public.audit_events e
    where e.tenant_id = $1::uuid
      and (e.occurred_at, e.id) > (s.after_at, s.after_id)
      and (e.occurred_at, e.id) <= (s.upto_at, s.upto_id)
      and e.occurred_at >= greatest(s.after_at, s.from_at) and e.occurred_at <= s.upto_at
      and case
            when s.retired then false
            when s.kind = 'adopted' then (e.txid >= s.since_txid or e.occurred_at >= s.adopts_from)
                                         and e.occurred_at < s.adopts_to
            else e.txid >= s.since_txid and e.txid < s.until_txid
                 and (s.ends_at is null or e.occurred_at < s.ends_at)
          end
    order by e.occurred_at, e.id
  ) l
) d
order by s.number
