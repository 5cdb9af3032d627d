-- title: rows of another tenant can be updated
-- severity: error
-- excepts: global-write
-- why: An UPDATE without WHERE or RETURNING reads no column, so the SELECT policy does not narrow it and the UPDATE policy stands alone.
-- bad: create policy p on notes for update using (true)
-- good: create policy p on notes for update using (tenant_id = ...)
-- fix: Give UPDATE a USING that compares the tenant with the context.
-- source: PostgreSQL manual, CREATE POLICY
{statement}
