-- What each acting role may do, for the access matrix; no check.
select r.label as object, c.acting_name as role, array_agg(distinct lower(c.privilege)) as actions
from can c join relation r on r.oid = c.relation
where c.rank <= 4
group by 1, 2
