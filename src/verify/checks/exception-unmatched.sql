-- title: an exception speaks of nothing that exists
-- severity: warning
-- why: The object was renamed or dropped; a new one of that name would be excepted unseen.
-- bad: an exception for a table that was dropped
-- good: no such exception
-- fix: Remove the exception from `kinedb.toml`, or correct its object.
-- source: kinedb configuration, `exception`
-- needs: nothing-here
select null as object where false
