-- WAL archiving: mode, command, seconds since the last segment, whether the last attempt failed.
select current_setting('archive_mode'),
  nullif(case when coalesce(current_setting('archive_library', true), '') <> '' then current_setting('archive_library')
              else (select s.setting from pg_settings s where s.name = 'archive_command') end, '(disabled)'),
  extract(epoch from now() - a.last_archived_time)::float8,
  coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false)
from pg_stat_archiver a
