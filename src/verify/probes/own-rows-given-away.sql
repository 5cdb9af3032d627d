-- title: own rows can be stamped with another tenant
-- severity: error
-- why: A session can move its rows into another tenant, where they are trusted as that tenant's own.
-- bad: create policy p on notes for update using (tenant_id = ...) with check (true)
-- good: create policy p on notes for update using (tenant_id = ...)
-- fix: Leave WITH CHECK out (USING serves) or compare the tenant in it too.
-- source: PostgreSQL manual, CREATE POLICY
{statement}
