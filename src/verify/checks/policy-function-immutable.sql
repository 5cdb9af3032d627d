-- title: a function that policies call is declared IMMUTABLE but reads the session
-- severity: error
-- why: The planner calls an immutable function once and keeps the answer in a prepared plan: the next tenant on the connection gets the last one's.
-- bad: create function current_tenant() returns uuid immutable ...
-- good: create function current_tenant() returns uuid stable ...
-- fix: Declare it STABLE.
-- source: PostgreSQL manual, 38.7 Function Volatility Categories
-- needs: guards
select distinct f.label as object, null as role, null as action,
       format('policy `%s` on `%s` calls it; it reads the session and says IMMUTABLE', g.name, r.label) as detail,
       format('alter function %s stable;', f.label) as fix
from guard g join routine f on f.oid = g.function join relation r on r.oid = g.relation
where f.volatility = 'i' and (f.session or f.reads <> '{}')
