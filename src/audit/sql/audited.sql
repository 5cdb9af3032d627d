-- Tables whose rows have a trail, with the column that the trail names them by, and whether they keep updated_at.
select c.relname::text, split_part(encode(t.tgargs, 'escape'), '\000', 1),
  exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'created_at' and not a.attisdropped),
  exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'updated_at' and not a.attisdropped)
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
where t.tgfoid = to_regprocedure('public.record_audit_event()') and t.tgtype & 16 > 0
  and c.relnamespace = 'public'::regnamespace
order by 1
