-- title: a role that reads all tenants can write
-- severity: error
-- why: A role of scope `all` or `shared` is meant to write nothing of tenants.
-- bad: grant update on notes to reporting
-- good: grant select on notes to reporting
-- fix: Revoke the privilege.
-- source: -
{statement}
