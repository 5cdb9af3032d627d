-- title: no role of the application is known
-- severity: error
-- why: Without a role to act as nothing can be proven.
-- bad: a kinedb.toml without [[isolation.role]], and no login with rights
-- good: [[isolation.role]] name = "app"
-- fix: Name the role in `kinedb.toml`, and grant it its rights.
-- source: kinedb configuration, `role`
select current_database() as object, null as role, null as action, 'no role was declared, and none was found that has rights on the tables and is bound by their policies' as detail, true as unproven
where not exists (select from acting)
  and (exists (select from policy) or exists (select from relation where tenanted and stored))
