//! The run's one connection, lent to migrations that ask the database while
//! they run. sea-orm itself offers only pools, and a pool would reconnect
//! silently; so it is given a proxy that forwards to this connection.

use std::fmt;
use std::sync::Arc;

use sea_orm::{
    DbBackend, DbErr, ProxyDatabaseTrait, ProxyExecResult, ProxyRow, QueryResult, RuntimeErr,
    Statement,
};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::Mutex;

/// The connection of a run.
pub type Shared = Arc<Mutex<PgConnection>>;

/// A sea-orm connection that sends everything over the run's own one.
pub async fn lend(conn: &Shared, inside: Inside) -> anyhow::Result<sea_orm::DatabaseConnection> {
    let proxy: Box<dyn ProxyDatabaseTrait> = Box::new(Lent(Arc::clone(conn), inside));
    Ok(sea_orm::Database::connect_proxy(DbBackend::Postgres, Arc::new(proxy)).await?)
}

/// What a transaction that a migration begins by itself is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// A savepoint: the runner's transaction is open already.
    Transaction,
    /// A transaction.
    Nothing,
}

struct Lent(Shared, Inside);

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent(connection)")
    }
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error)))
}

impl Lent {
    async fn nested(&self, savepoint: &'static str, transaction: &'static str) {
        let statement = match self.1 {
            Inside::Transaction => savepoint,
            Inside::Nothing => transaction,
        };
        let mut conn = self.0.lock().await;
        // The trait has no way to report; a savepoint that failed shows at the next statement.
        let _ = (&mut *conn).execute(sqlx::raw_sql(statement)).await;
    }
}

#[async_trait::async_trait]
impl ProxyDatabaseTrait for Lent {
    async fn query(&self, statement: Statement) -> Result<Vec<ProxyRow>, DbErr> {
        let mut conn = self.0.lock().await;
        let rows = match statement.values {
            Some(values) => {
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values));
                (&mut *conn).fetch_all(query).await
            }
            None => {
                (&mut *conn)
                    .fetch_all(sqlx::query(AssertSqlSafe(statement.sql)))
                    .await
            }
        };
        let rows = rows.map_err(failed)?;
        Ok(rows
            .into_iter()
            .map(|row| sea_orm::from_query_result_to_proxy_row(&QueryResult::from(row)))
            .collect())
    }

    async fn execute(&self, statement: Statement) -> Result<ProxyExecResult, DbErr> {
        let mut conn = self.0.lock().await;
        let done = match statement.values {
            Some(values) if !values.0.is_empty() => {
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values));
                (&mut *conn).execute(query).await
            }
            // Without values the simple protocol takes several statements in one message.
            _ => {
                (&mut *conn)
                    .execute(sqlx::raw_sql(AssertSqlSafe(statement.sql)))
                    .await
            }
        };
        Ok(ProxyExecResult::new(
            0,
            done.map_err(failed)?.rows_affected(),
        ))
    }

    async fn begin(&self) {
        self.nested("savepoint kinedb_migration", "begin").await;
    }

    async fn commit(&self) {
        self.nested("release savepoint kinedb_migration", "commit")
            .await;
    }

    async fn rollback(&self) {
        self.nested("rollback to savepoint kinedb_migration", "rollback")
            .await;
    }

    fn start_rollback(&self) {}

    async fn ping(&self) -> Result<(), DbErr> {
        Ok(())
    }
}
