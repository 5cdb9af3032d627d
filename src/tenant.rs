#![doc = include_str!("../docs/data-access.md")]

use std::fmt;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    ExecResult, QueryResult, Statement, TransactionTrait,
};
use uuid::Uuid;

pub use crate::entity::ids::{AppointmentId, EncounterId, NoteId, PatientId, TenantId, UserId};
use crate::entity::users::{self, UserRole, UserStatus};

/// The product's way to the database: hands out transactions, never connections.
#[derive(Debug, Clone)]
pub struct TenantDb {
    pool: DatabaseConnection,
}

impl TenantDb {
    /// Wraps a pool whose login is a member of `kine_app`.
    pub fn new(pool: DatabaseConnection) -> Self {
        Self { pool }
    }

    /// Opens a transaction bound to one clinic and one of its users.
    ///
    /// Tenant, user and the role `kine_app` are set for the transaction only, so
    /// whatever ends it (commit, rollback, drop, a lost connection) ends them too.
    /// Costs two round trips more than a bare transaction.
    ///
    /// # Errors
    /// [`TenantError::Missing`] for a nil id, [`TenantError::AlreadyBound`] if the
    /// connection came with a context or a role, [`TenantError::NotAUser`] if the
    /// clinic has no such user who may sign in, [`TenantError::Database`] otherwise.
    pub async fn begin(&self, tenant: TenantId, user: UserId) -> Result<TenantTx, TenantError> {
        if tenant.0.is_nil() {
            return Err(TenantError::Missing("tenant"));
        }
        if user.0.is_nil() {
            return Err(TenantError::Missing("user"));
        }
        let tx = self.pool.begin().await?;
        let bound = tx
            .query_one_raw(Statement::from_sql_and_values(
                DbBackend::Postgres,
                include_str!("tenant/begin.sql"),
                [tenant.to_string().into(), user.to_string().into()],
            ))
            .await?
            .map(|row| row.try_get_by_index::<bool>(0))
            .transpose()?;
        if bound != Some(true) {
            return Err(TenantError::AlreadyBound);
        }
        // The policies have the last word on which clinic's users can be found here.
        let found = users::Entity::find_by_id((tenant, user)).one(&tx).await?;
        match found {
            Some(found) if found.status == UserStatus::Active => Ok(TenantTx {
                tx,
                tenant,
                user,
                role: found.role,
            }),
            _ => Err(TenantError::NotAUser),
        }
    }
}

/// A transaction of one user in one clinic. SeaORM queries run on it as on any
/// connection. Dropped without [`commit`](Self::commit), it rolls back.
///
/// It cannot begin another transaction, so contexts do not nest.
#[derive(Debug)]
pub struct TenantTx {
    tx: DatabaseTransaction,
    tenant: TenantId,
    user: UserId,
    role: UserRole,
}

impl TenantTx {
    /// The clinic.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The user who acts.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// What the user is to the clinic. The database keeps clinics apart; what a role
    /// may do inside its clinic is for the caller to decide.
    pub fn role(&self) -> UserRole {
        self.role
    }

    /// Records that the user read these rows of `E`, as one statement. Part of the
    /// transaction: a read that is rolled back leaves no trace, so commit.
    ///
    /// # Errors
    /// [`TenantError::Database`] if the table has no audit.
    pub async fn record_reads<E: EntityTrait>(
        &self,
        ids: impl IntoIterator<Item = impl Into<Uuid>>,
    ) -> Result<(), TenantError> {
        let ids: Vec<Uuid> = ids.into_iter().map(Into::into).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let table = E::default().table_name().to_owned();
        self.tx
            .execute_raw(Statement::from_sql_and_values(
                DbBackend::Postgres,
                "select public.record_read($1, $2)",
                [table.into(), ids.into()],
            ))
            .await?;
        Ok(())
    }

    /// Makes the work last, and gives the connection back without a context.
    ///
    /// # Errors
    /// [`TenantError::Database`]; the work is then not known to have lasted.
    pub async fn commit(self) -> Result<(), TenantError> {
        Ok(self.tx.commit().await?)
    }

    /// Undoes the work, and gives the connection back without a context.
    ///
    /// # Errors
    /// [`TenantError::Database`]; the work is undone all the same.
    pub async fn rollback(self) -> Result<(), TenantError> {
        Ok(self.tx.rollback().await?)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for TenantTx {
    fn get_database_backend(&self) -> DbBackend {
        self.tx.get_database_backend()
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.tx.execute_raw(stmt).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.tx.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.tx.query_one_raw(stmt).await
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.tx.query_all_raw(stmt).await
    }
}

/// Why there is no transaction, or why it failed.
#[derive(Debug)]
pub enum TenantError {
    /// No clinic, or no user, was named: a nil id.
    Missing(&'static str),
    /// The connection already had a tenant, a user or another role when it came from
    /// the pool. Someone set them for the session; nothing runs on it.
    AlreadyBound,
    /// The clinic has no such user, or one who may not sign in. Deliberately one
    /// answer for both.
    NotAUser,
    /// The database said no.
    Database(DbErr),
}

impl fmt::Display for TenantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "no {what} was named for the transaction"),
            Self::AlreadyBound => {
                f.write_str("the connection is bound to a tenant or a role already")
            }
            Self::NotAUser => f.write_str("no user of that id may act in this clinic"),
            Self::Database(_) => f.write_str("the database refused"),
        }
    }
}

impl std::error::Error for TenantError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<DbErr> for TenantError {
    fn from(cause: DbErr) -> Self {
        Self::Database(cause)
    }
}
