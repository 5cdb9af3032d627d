-- title: rows of another tenant can be deleted
-- severity: error
-- why: A DELETE without WHERE reads no column, so the DELETE policy stands alone.
-- bad: create policy p on notes for delete using (true)
-- good: create policy p on notes for delete using (tenant_id = ...)
-- fix: Give DELETE a USING that compares the tenant with the context.
-- source: PostgreSQL manual, CREATE POLICY
{statement}
