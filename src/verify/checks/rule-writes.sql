-- title: a rule acts on other tables with rights that no policy binds
-- severity: error
-- why: Actions of a rule run with the rights of the table's owner.
-- bad: create rule copy as on insert to a do also insert into b ...;
-- good: a trigger with the caller's rights
-- fix: Replace the rule by a trigger.
-- source: PostgreSQL manual, 41.5 Rules and Privileges
-- needs: rules, roles
select distinct v.label as object, c.acting_name as role, lower(c.privilege) as action,
       format('its rule `%s` reaches `%s` as `%s`, %s', w.rulename, r.label, x.name, x.why) as detail
-- Rules are few: they come first, and the relations to them.
from (
  select w.rulename, w.ev_class, w.ev_type, d.refobjid
  from pg_catalog.pg_rewrite w
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
  where w.ev_type <> '1' and w.ev_class in (select oid from relation)
  offset 0) w
join relation v on v.oid = w.ev_class
join relation r on r.oid = w.refobjid
join free x on x.role = v.owner and x.relation = r.oid
join can c on c.relation = v.oid and c.privilege = case w.ev_type when '2' then 'UPDATE' when '3' then 'INSERT' when '4' then 'DELETE' end
