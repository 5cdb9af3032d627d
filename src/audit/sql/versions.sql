-- Versions of notes of one clinic that are not what was written, by note and version. $2: the keys may be read.
with pads as (
  select k.inner_pad, k.outer_pad from public.audit_keys k where k.tenant_id = $1::uuid
), chain as (
  select v.note_id, v.version, v.prev_hash, v.hash, lag(v.hash) over w as hash_before,
    coalesce(lag(v.version) over w, 0) as version_before, lead(v.version) over w is null as newest,
    pg_catalog.sha256(coalesce(v.prev_hash, ''::bytea) || pg_catalog.convert_to(pg_catalog.jsonb_build_array(
      v.tenant_id::text, v.note_id::text, v.version, v.status, v.author_id::text,
      v.subjective, v.objective, v.assessment, v.plan, v.extra_sections, v.reason,
      (extract(epoch from v.recorded_at) * 1000000)::bigint)::text, 'UTF8')) as must_be
  from public.note_versions v
  where v.tenant_id = $1::uuid
  window w as (partition by v.note_id order by v.version)
), said as (
  select e.row_id as note_id, e.digests ->> 'hash' as digest
  from public.audit_events e
  where e.tenant_id = $1::uuid and e.table_name = 'note_versions' and e.action = 'insert' and e.digests ? 'hash'
)
select c.note_id::text, c.version::bigint, 'its hash is not that of its text' from chain c where c.hash <> c.must_be
union all
select c.note_id::text, c.version::bigint, 'it does not follow the version before'
from chain c where c.prev_hash is distinct from c.hash_before or c.version <> c.version_before + 1
union all
select n.id::text, n.version::bigint, 'the note is at another version than its history, or has another text'
from public.notes n
left join chain c on c.note_id = n.id and c.version = n.version and c.newest
where n.tenant_id = $1::uuid and (c.note_id is null or not exists (
  select from public.note_versions v
  where v.tenant_id = n.tenant_id and v.note_id = n.id and v.version = n.version and v.status = n.status
    and (v.subjective, v.objective, v.assessment, v.plan, v.extra_sections)
        is not distinct from (n.subjective, n.objective, n.assessment, n.plan, n.extra_sections)))
union all
select s.note_id::text, null, 'the trail tells of a version that is not there, or not as it was written'
from said s
where $2 and not exists (
  select from chain c cross join pads p
  where c.note_id = s.note_id
    and s.digest = pg_catalog.encode(pg_catalog.sha256(p.outer_pad || pg_catalog.sha256(p.inner_pad || pg_catalog.convert_to(
          'note_versions.hash:\x' || pg_catalog.encode(c.hash, 'hex'), 'UTF8'))), 'hex'))
order by 1, 2
limit 100
