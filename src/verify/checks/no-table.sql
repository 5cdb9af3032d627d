-- title: no table holds data of tenants
-- severity: error
-- why: An empty database is not proof of anything.
-- bad: a verification before the first migration
-- good: a schema with tables, and `tenant_columns` that name their key
-- fix: Run the migrations, or name the tenant's column in `kinedb.toml`.
-- source: kinedb configuration, `tenant_columns`
select current_database() as object, null as role, null as action,
       format('%s tables were looked at, and none has a key that tells its tenant', (select count(*) from relation where stored)) as detail, true as unproven
where not exists (select from relation where tenanted and stored)
