-- title: own rows are not visible
-- severity: error
-- excepts: hidden-rows
-- why: A tenant does not see rows of its own that the role is meant to see: the policy is too narrow, or reads another setting than the context sets.
-- bad: using (tenant_id = current_setting('app.other', true)::uuid)
-- good: using (tenant_id = current_setting('app.tenant_id', true)::uuid)
-- fix: Make the policy for SELECT apply to the role and read the setting that the context sets; declare rows that are hidden on purpose.
-- source: -
select count(*) from {relation}
