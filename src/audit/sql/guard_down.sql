drop event trigger if exists kine_guard_changes;
drop event trigger if exists kine_guard_drops;
drop function if exists kine_guard.refuse_weakening();
drop schema if exists kine_guard;
