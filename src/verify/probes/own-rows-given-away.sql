-- title: own rows can be stamped with another tenant
-- severity: error
-- why: A session can move its rows into another tenant, where they are trusted as that tenant's own.
-- bad: create policy p on notes for update using (tenant_id = ...) with check (true)
-- good: create policy p on notes for update using (tenant_id = ...)
-- fix: Compare the tenant in WITH CHECK too; a policy without one holds new rows to its USING, which must compare the tenant then. Or revoke UPDATE of the column that tells the tenant.
-- source: PostgreSQL manual, CREATE POLICY
{statement}
