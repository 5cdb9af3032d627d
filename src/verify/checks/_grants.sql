-- What each acting role may do, for the access matrix; no check. A privilege to write
-- a view that cannot be written opens nothing.
select r.label as object, c.acting_name as role, array_agg(distinct lower(c.privilege)) as actions
from can c join relation r on r.oid = c.relation
where c.rank <= 4
  and (r.stored or r.kind = 'foreign-table' or c.rank = 1
       or (pg_catalog.pg_relation_is_updatable(r.oid, true) & case c.rank when 2 then 8 when 3 then 4 else 16 end) <> 0)
group by 1, 2
