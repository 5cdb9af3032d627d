-- title: row level security does not bind the role on this table
-- severity: error
-- why: With row_security off a statement on a bound table fails; here it does not, so no policy narrows what the role does.
-- bad: alter table notes disable row level security
-- good: alter table notes enable row level security; alter table notes force row level security
-- fix: Enable and force row level security on the table; use a role without BYPASSRLS that does not own it.
-- source: PostgreSQL manual, row_security
set local row_security = off; select 1 from {relation} limit 0
