-- title: the application can replace a function that policies call
-- severity: error
-- why: Whoever owns the function writes the policy.
-- bad: alter function current_tenant() owner to app;
-- good: alter function current_tenant() owner to schema_owner;
-- fix: Give the function to the owner of the tables.
-- source: PostgreSQL manual, CREATE FUNCTION
-- needs: guards, function-owners
select distinct f.label as object, m.acting_name as role, null as action,
       format('`%s` owns it, and policy `%s` on `%s` calls it%s', m.name, g.name, r.label, m.via) as detail
from (select g.relation, g.name, g.function from guard g union select g.relation, g.name, c::oid from guard g join scope on true
      cross join lateral jsonb_to_recordset(j->'functions') as o(oid int8, body jsonb)
      cross join lateral jsonb_array_elements_text(o.body->'calls') c where o.oid::oid = g.function) g
join routine f on f.oid = g.function join relation r on r.oid = g.relation
join member m on m.oid = f.owner and not m.unbound
