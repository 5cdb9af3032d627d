-- title: the policies admit rows of another tenant that hold certain values
-- severity: error
-- excepts: shared-rows
-- why: No row of that kind exists today; the first one is open to every tenant.
-- bad: using (tenant_id = ... or status = 'public')
-- good: using (tenant_id = ... and (...))
-- fix: Join the alternative with the comparison of the tenant by AND.
-- source: PostgreSQL manual, CREATE POLICY
{statement}
