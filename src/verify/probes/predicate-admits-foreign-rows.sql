-- title: the policies admit rows of another tenant
-- severity: error
-- excepts: shared-rows
-- why: The effective predicate (permissive policies joined by OR, restrictive ones by AND) is true for a row of another tenant.
-- bad: using (tenant_id = ... or true)
-- good: using (tenant_id = ...)
-- fix: Let every permissive policy compare the tenant with the context.
-- source: PostgreSQL manual, CREATE POLICY, application of multiple policies
{statement}
