//! `audit_events`: Who did what to which row. Read only, by `kine_auditor`; the database writes it.

use sea_orm::entity::prelude::*;

use super::ids::{TenantId, UserId};

/// What was done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum AuditAction {
    /// Insert.
    #[sea_orm(string_value = "insert")]
    Insert,
    /// Update.
    #[sea_orm(string_value = "update")]
    Update,
    /// Delete.
    #[sea_orm(string_value = "delete")]
    Delete,
    /// Read.
    #[sea_orm(string_value = "read")]
    Read,
    /// Export.
    #[sea_orm(string_value = "export")]
    Export,
}

/// A row of `audit_events`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "audit_events")]
pub struct Model {
    /// The clinic. No reference: the record outlives what it tells of.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// When, by the server's clock; the partitions are months of it in UTC.
    #[sea_orm(primary_key, auto_increment = false)]
    pub occurred_at: DateTimeUtc,
    /// Tells events of one instant apart; the row's own id, or a random one. Unique only with the clinic and the time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// insert, update, delete, read or export.
    pub action: AuditAction,
    /// Table of the row.
    #[sea_orm(column_type = "Text")]
    pub table_name: String,
    /// The row within its clinic.
    pub row_id: Option<Uuid>,
    /// The user of the session (app.user_id); null where no user acted, for example a data migration.
    pub actor_id: Option<UserId>,
    /// The login of the session.
    #[sea_orm(column_type = "Text")]
    pub db_user: String,
    /// For an update: names of the columns that changed.
    pub changed_columns: Option<Vec<String>>,
    /// The transaction, 64 bits; events of one transaction share it.
    pub txid: i64,
    /// application_name of the session.
    #[sea_orm(column_type = "Text")]
    pub application_name: String,
    /// What acted where no user did: seed, a migration, a repair; only a login that may act as kine_owner has one.
    #[sea_orm(column_type = "Text", nullable)]
    pub system_actor: Option<String>,
    /// For columns that opted in: HMAC-SHA256 of the new value under the clinic's own key, by column name.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub digests: Option<Json>,
}

/// What a row refers to and is referred to by; every join carries the tenant.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
