-- title: without a context a used session fails where a fresh one sees no rows
-- severity: error
-- why: After the first SET LOCAL a custom setting reads as the empty text, not NULL, for the rest of the session. A cast of it then fails, so the same request works on a fresh connection and breaks on a pooled one.
-- bad: using (tenant_id = current_setting('app.tenant_id', true)::uuid)
-- good: using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid))
-- fix: Wrap the setting in nullif(.., ''), or leave missing_ok out so that both cases are errors.
-- source: PostgreSQL manual, 20.16 Customized Options
select count(*) from {relation}
