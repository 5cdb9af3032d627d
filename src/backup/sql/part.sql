-- Rows of one table by tenant, with a digest that does not depend on their order.
select {tenant} as tenant, count(*),
  coalesce(sum((('x' || encode(substr(sha256(convert_to(t::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint)::numeric), 0)::text
from {only}{table} t
group by 1
order by 1
