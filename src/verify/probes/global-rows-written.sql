-- title: a tenant can write rows that all tenants share
-- severity: error
-- excepts: global-write
-- why: Global data is the same for every tenant; a session of one tenant changes it for all.
-- bad: grant update on icd10
-- good: grant select on icd10
-- fix: Revoke the privilege, or declare global-write.
-- source: -
{statement}
