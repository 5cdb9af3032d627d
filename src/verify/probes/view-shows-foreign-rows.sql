-- title: a view shows what belongs to another tenant
-- severity: error
-- excepts: global-read, definer
-- why: A view reads with its owner's rights unless it is security_invoker; rows of another tenant change what it shows.
-- bad: create view v as select * from notes
-- good: create view v with (security_invoker = true, security_barrier = true) as select ... from notes
-- fix: Set security_invoker, or give the view an owner that FORCE binds.
-- source: PostgreSQL manual, CREATE VIEW
select count(*) from {relation}
