-- title: the verifier lacks rights that the proof needs
-- severity: error
-- why: It cannot become a role of the application, or cannot see and make rows in a table: what it could not try is not proven.
-- bad: a login that is no member of the roles of the application
-- good: grant app to verifier;
-- fix: Grant what the detail lists, or verify as a superuser.
-- source: kinedb; PostgreSQL manual, SET ROLE
-- excepts: unproven
-- needs: nothing-here
select null as object where false
