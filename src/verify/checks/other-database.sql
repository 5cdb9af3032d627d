-- title: another database holds a copy that the application can read
-- severity: error
-- why: CONNECT is granted to PUBLIC by default; a copy for tests or a report has the rows without the policies.
-- bad: create database clinic_copy template clinic;
-- good: revoke connect on database clinic_copy from public;
-- fix: Revoke CONNECT from PUBLIC on the other database, or drop it.
-- source: PostgreSQL manual, 5.8 Privileges
-- needs: nothing-here
select null as object where false
