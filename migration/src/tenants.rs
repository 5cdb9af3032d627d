//! Data migrations: tenant by tenant, each in its own context, in batches.
//!
//! FORCE binds the owner too, so an `update` without a tenant changes no row and
//! says so only by its count. What is written here runs once per tenant with that
//! tenant's context set, and can be broken off and run again.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, Statement, TransactionTrait, Value};

/// A change of data, batch by batch, for every tenant.
///
/// ```no_run
/// # use migration::{DbErr, PerTenant, SchemaManager};
/// # async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
/// PerTenant::new("m20270101_000000_backfill_locale")
///     .batch(
///         "update public.users set full_name = trim(full_name) \
///          where (tenant_id, id) in (select tenant_id, id from public.users \
///          where full_name <> trim(full_name) limit 500)",
///     )
///     .run(manager, |progress| println!("{progress:?}"))
///     .await?;
/// # Ok(()) }
/// ```
/// The migration answers `Some(false)` to `use_transaction`: each batch is a
/// transaction of its own, and a run that was broken off goes on with the tenant
/// that it was at. What is done is a row of `kinedb_history`.
pub struct PerTenant {
    name: String,
    tenants: String,
    setting: String,
    role: Option<String>,
    batch: String,
}

/// What was done for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The tenant.
    pub tenant: String,
    /// Its place, from 1.
    pub place: usize,
    /// How many there are.
    pub tenants: usize,
    /// Rows changed for this tenant, over all its batches of this run.
    pub rows: u64,
}

impl PerTenant {
    /// Under the name of the migration, by which progress is kept.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tenants: "select tenant_id::text from public.tenants order by 1".to_owned(),
            setting: "app.tenant_id".to_owned(),
            role: Some("kine_owner".to_owned()),
            batch: String::new(),
        }
    }

    /// The query that lists all tenants; row security must not bind whoever asks it,
    /// or there must be a setting under which it shows all.
    #[must_use]
    pub fn tenants(mut self, query: impl Into<String>) -> Self {
        self.tenants = query.into();
        self
    }

    /// The setting that is the context.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>) -> Self {
        self.setting = name.into();
        self
    }

    /// The role to act as in each batch; none: the login itself.
    #[must_use]
    pub fn role(mut self, role: Option<&str>) -> Self {
        self.role = role.map(str::to_owned);
        self
    }

    /// One statement that changes a bounded number of rows and none once all are
    /// done: it is repeated until it changes none.
    #[must_use]
    pub fn batch(mut self, sql: impl Into<String>) -> Self {
        self.batch = sql.into();
        self
    }

    /// Runs it for every tenant that is not done yet.
    ///
    /// # Errors
    /// No tenant is visible although the table has rows; a batch fails.
    pub async fn run(
        &self,
        manager: &SchemaManager<'_>,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), DbErr> {
        let db = manager.get_connection();
        // Part of the migration's text, and so of its checksum.
        let text = self.batch.replace('\'', "''");
        let text = format!("select set_config('kinedb.batch', '{text}', false)");
        db.execute_unprepared(&text).await?;
        let tenants = self.list(manager).await?;
        let count = tenants.len();
        for (place, tenant) in tenants.into_iter().enumerate() {
            if self.is_done(manager, &tenant).await? {
                continue;
            }
            let mut rows = 0;
            loop {
                let changed = self.one_batch(manager, &tenant).await?;
                rows += changed;
                if changed == 0 {
                    break;
                }
            }
            tell(Progress {
                tenant,
                place: place + 1,
                tenants: count,
                rows,
            });
        }
        Ok(())
    }

    async fn list(&self, manager: &SchemaManager<'_>) -> Result<Vec<String>, DbErr> {
        let db = manager.get_connection();
        let statement = Statement::from_string(db.get_database_backend(), self.tenants.clone());
        let rows = db.query_all_raw(statement).await?;
        let tenants: Vec<String> = rows
            .iter()
            .map(|row| row.try_get_by_index(0))
            .collect::<Result<_, _>>()?;
        if tenants.is_empty() {
            // An empty list is what row security makes of a list one may not see.
            let hidden = "select coalesce((select sum(pg_relation_size(oid)) from pg_class where relname = 'tenants'), 0) > 0";
            let statement = Statement::from_string(db.get_database_backend(), hidden);
            let row = db.query_one_raw(statement).await?;
            if row.map_or(Ok(false), |row| row.try_get_by_index::<bool>(0))? {
                return Err(DbErr::Migration(
                    "no tenant is visible although there are some: run it as a user whom row security does not bind, or give `tenants` a query that shows all".to_owned(),
                ));
            }
        }
        Ok(tenants)
    }

    /// Other tools run migrations without it; then a run that was broken off starts
    /// with the first tenant again, whose batch finds nothing to change.
    async fn has_history(&self, manager: &SchemaManager<'_>) -> Result<bool, DbErr> {
        let db = manager.get_connection();
        let there = "select to_regclass('public.kinedb_history') is not null";
        let statement = Statement::from_string(db.get_database_backend(), there);
        match db.query_one_raw(statement).await? {
            Some(row) => row.try_get_by_index(0),
            None => Ok(false),
        }
    }

    async fn is_done(&self, manager: &SchemaManager<'_>, tenant: &str) -> Result<bool, DbErr> {
        if !self.has_history(manager).await? {
            return Ok(false);
        }
        let db = manager.get_connection();
        let statement = Statement::from_sql_and_values(
            db.get_database_backend(),
            "select exists (select from public.kinedb_history s where name = $1 and outcome = 'started' and reason = $2 \
             and not exists (select from public.kinedb_history d where d.name = s.name and d.outcome = 'done' and d.id > s.id))",
            [Value::from(self.name.clone()), Value::from(done(tenant))],
        );
        match db.query_one_raw(statement).await? {
            Some(row) => row.try_get_by_index(0),
            None => Ok(false),
        }
    }

    /// One transaction: the context, the batch, and at the end the tenant's record.
    async fn one_batch(&self, manager: &SchemaManager<'_>, tenant: &str) -> Result<u64, DbErr> {
        let db = manager.get_connection().begin().await?;
        if let Some(role) = &self.role {
            let role = format!("set local role \"{}\"", role.replace('"', "\"\""));
            db.execute_unprepared(&role).await?;
        }
        let backend = db.get_database_backend();
        db.query_one_raw(Statement::from_sql_and_values(
            backend,
            "select set_config($1, $2, true)",
            [Value::from(self.setting.clone()), Value::from(tenant)],
        ))
        .await?;
        let changed = db.execute_unprepared(&self.batch).await?.rows_affected();
        if changed == 0 {
            db.execute_unprepared("reset role").await?;
            if self.has_history(manager).await? {
                db.execute_raw(Statement::from_sql_and_values(
                    backend,
                    "insert into public.kinedb_history (run_id, name, direction, checksum, started_at, outcome, kinedb_version, step, reason) \
                     values (gen_random_uuid(), $1, 'up', '', now(), 'started', $2, 0, $3)",
                    [
                        Value::from(self.name.clone()),
                        Value::from(env!("CARGO_PKG_VERSION")),
                        Value::from(done(tenant)),
                    ],
                ))
                .await?;
            }
        }
        db.commit().await?;
        Ok(changed)
    }
}

/// What history says of a tenant whose rows are all changed.
fn done(tenant: &str) -> String {
    format!("tenant {tenant} is done")
}
