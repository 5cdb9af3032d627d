-- title: rows of an append-only table can be changed
-- severity: error
-- why: The table is declared append-only, yet a session changes or removes rows, itself or through another table.
-- bad: grant update on audit_events
-- good: grant select on audit_events
-- fix: Revoke the privilege, or stop the cascade or trigger that reaches the table.
-- source: -
{statement}
