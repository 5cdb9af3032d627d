-- title: rows of another tenant can be taken over
-- severity: error
-- why: An UPDATE may stamp rows of another tenant with the own tenant, which makes them its own.
-- bad: create policy p on notes for update using (true) with check (tenant_id = ...)
-- good: create policy p on notes for update using (tenant_id = ...)
-- fix: Give UPDATE a USING that compares the tenant with the context; WITH CHECK alone looks at the new row only.
-- source: PostgreSQL manual, CREATE POLICY
{statement}
