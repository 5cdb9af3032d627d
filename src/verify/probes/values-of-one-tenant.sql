-- title: a table without a tenant holds values that occur in one tenant only
-- severity: error
-- excepts: global-read
-- why: The table has no tenant column and no row level security, yet its values are found in the rows of single tenants: it is tenant data that every tenant reads.
-- bad: create table note_attachments (note_id uuid, filename text)
-- good: create table note_attachments (tenant_id uuid not null, note_id uuid, filename text)
-- fix: Add the tenant and the policy, or declare the parent it is owned through.
-- source: -
select count(*) from {relation}
