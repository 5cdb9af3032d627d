-- title: no evidence was gathered for something that the application may do
-- severity: error
-- why: A cell of the access matrix without proof is not isolated.
-- bad: a table that the probes could not make a row for
-- good: every granted command tried with own and with foreign rows
-- fix: The detail says what is missing; give rows for two tenants where they cannot be made.
-- source: kinedb
-- excepts: unproven
select null as object where false
