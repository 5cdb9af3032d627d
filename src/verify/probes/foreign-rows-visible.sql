-- title: rows of another tenant are visible
-- severity: error
-- excepts: global-read, shared-rows
-- why: A session of the application in the context of one tenant reads rows that belong to another.
-- bad: create policy p on notes using (true)
-- good: create policy p on notes using (tenant_id = (select current_setting('app.tenant_id')::uuid))
-- fix: Make every permissive policy for SELECT, and every other path to the rows, compare the tenant with the context; enable and force row level security.
-- source: PostgreSQL manual, 5.8 Row Security Policies
select count(*) from {relation} where {foreign}
