-- title: rows without a tenant are visible to every tenant
-- severity: note
-- excepts: shared-rows
-- why: Shared rows are part of what every tenant reads. Declare them as shared-rows if that is meant.
-- bad: -
-- good: -
-- fix: Declare an exception of kind shared-rows, or forbid NULL in the key.
-- source: -
select count(*) from {relation} where {shared}
