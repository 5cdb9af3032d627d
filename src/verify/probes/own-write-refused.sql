-- title: own rows cannot be written although the privilege is granted
-- severity: error
-- excepts: insert-only, hidden-rows
-- why: The role holds the privilege, but the policies let no own row through: a missing policy for the command changes nothing, silently.
-- bad: grant delete without a policy for delete
-- good: a policy for every command that is granted
-- fix: Add the policy for the command, or revoke the privilege; declare insert-only tables.
-- source: PostgreSQL manual, 5.8
{statement}
