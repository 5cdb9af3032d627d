-- title: what one tenant does changes what another sees
-- severity: error
-- excepts: global-write, global-read, shared-rows
-- why: After ordinary writes of one tenant, a session of another tenant sees something else than before.
-- bad: a trigger that writes a summary table without row level security
-- good: the summary table has the tenant in its key and the same policy
-- fix: Look at what the triggers of the written tables write, and isolate it.
-- source: -
{statement}
