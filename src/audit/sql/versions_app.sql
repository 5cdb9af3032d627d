select pg_catalog.has_table_privilege('public.note_versions', 'SELECT') and pg_catalog.has_table_privilege('public.notes', 'SELECT'),
  pg_catalog.has_table_privilege('public.audit_keys', 'SELECT')
