select a.attname, format_type(a.atttypid, a.atttypmod), case when a.attnotnull then '' else 'null' end,
  pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = :table::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
