-- title: a function that policies call is declared VOLATILE
-- severity: note
-- why: It is called once per row.
-- bad: create function current_tenant() returns uuid language sql ...
-- good: create function current_tenant() returns uuid stable language sql ...
-- fix: Declare it STABLE and call it in a sub-select.
-- source: PostgreSQL manual, 38.7 Function Volatility Categories
-- needs: guards
select distinct f.label as object, null as role, null as action,
       format('policy `%s` on `%s` calls it once per row', g.name, r.label) as detail
from guard g join routine f on f.oid = g.function join relation r on r.oid = g.relation
where f.volatility = 'v' and f.writes = '{}'
