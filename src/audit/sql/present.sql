-- Which of the tables and columns of the trail are not there.
select w.tab, w.col
from (values
  ('audit_events', 'tenant_id'), ('audit_events', 'occurred_at'), ('audit_events', 'id'), ('audit_events', 'action'),
  ('audit_events', 'table_name'), ('audit_events', 'row_id'), ('audit_events', 'actor_id'), ('audit_events', 'db_user'),
  ('audit_events', 'changed_columns'), ('audit_events', 'txid'), ('audit_events', 'application_name'),
  ('audit_events', 'system_actor'), ('audit_events', 'digests'),
  ('audit_seals', 'number'), ('audit_seals', 'kind'), ('audit_seals', 'digest'), ('audit_seals', 'hash'), ('audit_seals', 'prev_hash'),
  ('audit_keys', 'inner_pad'), ('audit_keys', 'outer_pad'),
  ('note_versions', 'note_id'), ('note_versions', 'version'), ('note_versions', 'status'), ('note_versions', 'author_id'),
  ('note_versions', 'subjective'), ('note_versions', 'objective'), ('note_versions', 'assessment'), ('note_versions', 'plan'),
  ('note_versions', 'extra_sections'), ('note_versions', 'reason'), ('note_versions', 'recorded_at'),
  ('note_versions', 'prev_hash'), ('note_versions', 'hash')
) w (tab, col)
where not exists (
  select from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attname = w.col and not a.attisdropped
  where c.relnamespace = 'public'::regnamespace and c.relname = w.tab and c.relkind in ('r', 'p'))
order by 1, 2
