-- title: a tenant can write rows that all tenants see
-- severity: error
-- excepts: global-write
-- why: Rows without a tenant are shared; one tenant that writes them writes into every other tenant's view.
-- bad: using (tenant_id is null or tenant_id = ...) with check absent
-- good: with check (tenant_id = ...)
-- fix: Let WITH CHECK ask for the own tenant, and USING of UPDATE and DELETE leave shared rows out.
-- source: -
{statement}
