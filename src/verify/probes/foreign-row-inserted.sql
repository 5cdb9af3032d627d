-- title: a row stamped with another tenant can be inserted
-- severity: error
-- excepts: global-write
-- why: The policy check fires before constraints, so anything but SQLSTATE 42501 for a foreign stamp means that no policy refuses it.
-- bad: create policy p on notes for insert with check (true)
-- good: create policy p on notes for insert with check (tenant_id = ...)
-- fix: Give INSERT a WITH CHECK that compares the tenant with the context.
-- source: PostgreSQL manual, CREATE POLICY, table 302
{statement}
