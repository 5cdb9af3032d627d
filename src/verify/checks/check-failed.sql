-- title: a check could not be run
-- severity: error
-- why: What was not looked at is not proven.
-- bad: a verifier that may not read what the check needs
-- good: a superuser, or a member of the owner and of the roles of the application
-- fix: Give the verifier the right that the detail names, or verify with another login.
-- source: kinedb
-- excepts: unproven
-- needs: nothing-here
select null as object where false
