-- title: a function reads or changes what belongs to another tenant
-- severity: error
-- excepts: definer
-- why: A SECURITY DEFINER function runs with its owner's rights; called in the context of one tenant it answers from, or changes, rows of another.
-- bad: create function f() ... security definer
-- good: create function f() ... security invoker
-- fix: Make it SECURITY INVOKER, give it an owner that FORCE binds, or compare the tenant in its body; revoke EXECUTE from PUBLIC.
-- source: PostgreSQL manual, CREATE FUNCTION, Writing SECURITY DEFINER Functions Safely
{statement}
