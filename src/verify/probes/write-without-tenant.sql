-- title: rows can be written in a context that names no tenant
-- severity: error
-- excepts: no-context, global-write
-- why: Without a context, or with one that names no tenant, a write must be refused.
-- bad: with check (tenant_id = ... or current_setting('app.tenant_id', true) is null)
-- good: with check (tenant_id = ...)
-- fix: Let no context admit no row in WITH CHECK and USING.
-- source: CWE-1188
{statement}
