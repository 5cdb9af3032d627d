-- title: the application owns a function that others run
-- severity: error
-- why: It can replace the text: triggers, views and policies then run what it wrote.
-- bad: alter function trg_audit() owner to app;
-- good: alter function trg_audit() owner to schema_owner;
-- fix: Give the function to the owner of the tables.
-- source: PostgreSQL manual, CREATE FUNCTION
-- needs: function-owners, triggers
select distinct f.label as object, m.acting_name as role, null as action,
       format('`%s` owns it, and the trigger `%s` on `%s` runs it%s', m.name, t.tgname, r.label, m.via) as detail
from routine f join member m on m.oid = f.owner and not m.unbound
join pg_catalog.pg_trigger t on t.tgfoid = f.oid
join relation r on r.oid = t.tgrelid and r.tenanted and r.owner <> m.oid
