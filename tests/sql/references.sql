select c.conrelid::regclass, c.confrelid::regclass,
  (select string_agg(a.attname, ', ' order by k.place) from unnest(c.conkey) with ordinality k (number, place)
   join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number)
from pg_constraint c
where c.contype = 'f' and c.connamespace = 'public'::regnamespace and c.conparentid = 0
order by 1, 2, 3
