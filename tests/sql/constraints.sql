select c.conname, pg_get_constraintdef(c.oid)
from pg_constraint c
where c.conrelid = :table::regclass and c.contype <> 'n'
order by case c.contype when 'p' then 1 when 'u' then 2 when 'x' then 3 when 'f' then 4 else 5 end, c.conname
