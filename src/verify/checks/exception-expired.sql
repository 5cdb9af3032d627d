-- title: an exception has expired
-- severity: warning
-- why: It holds no more: what it excepted is reported again.
-- bad: until = 2020-01-01
-- good: a day to come, or the repair
-- fix: Repair what it excepted, or renew it.
-- source: kinedb configuration, `exception`
-- needs: nothing-here
select null as object where false
