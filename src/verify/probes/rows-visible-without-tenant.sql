-- title: rows are visible in a context that names no tenant
-- severity: error
-- excepts: no-context, global-read, shared-rows
-- why: A request that sets no context, an empty one, a malformed one or a pattern must get no rows or an error: a forgotten context is the most common mistake of an application.
-- bad: using (current_setting('app.tenant_id', true) is null or tenant_id = ...)
-- good: using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid))
-- fix: Compare the tenant for equality with exactly one id, and let no context admit no row.
-- source: CWE-1188
select count(*) from {relation}
