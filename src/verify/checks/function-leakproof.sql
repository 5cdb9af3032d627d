-- title: a function claims to be leakproof
-- severity: error
-- why: The planner runs a leakproof condition before the policies: it sees rows of every tenant.
-- bad: create function norm(text) ... leakproof
-- good: create function norm(text) ...
-- fix: `alter function ... not leakproof`.
-- source: PostgreSQL manual, CREATE FUNCTION, LEAKPROOF; 41.5 Rules and Privileges
-- needs: leakproof
select f.label as object, min(c.acting_name) as role, 'execute' as action,
       'it is marked LEAKPROOF and is no part of PostgreSQL or an extension: policies do not come before it' as detail,
       format('alter function %s not leakproof;', f.label) as fix
from routine f join callable c on c.function = f.oid
where f.proleakproof
group by f.label
