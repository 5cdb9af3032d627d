//! `users`: People who sign in to a clinic.

use sea_orm::entity::prelude::*;

use super::ids::{TenantId, UserId};

/// What a user is to the clinic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum UserRole {
    /// Admin.
    #[sea_orm(string_value = "admin")]
    Admin,
    /// Practitioner.
    #[sea_orm(string_value = "practitioner")]
    Practitioner,
    /// Receptionist.
    #[sea_orm(string_value = "receptionist")]
    Receptionist,
    /// Billing.
    #[sea_orm(string_value = "billing")]
    Billing,
    /// Patient.
    #[sea_orm(string_value = "patient")]
    Patient,
}

/// Whether a user can sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum UserStatus {
    /// Invited.
    #[sea_orm(string_value = "invited")]
    Invited,
    /// Active.
    #[sea_orm(string_value = "active")]
    Active,
    /// Disabled.
    #[sea_orm(string_value = "disabled")]
    Disabled,
}

/// A row of `users`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "users")]
pub struct Model {
    /// The clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The user within the clinic; app.user_id of a session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UserId,
    /// Address for signing in, in lower case; unique within the clinic.
    #[sea_orm(column_type = "Text")]
    pub email: String,
    /// Name as colleagues read it.
    #[sea_orm(column_type = "Text")]
    pub full_name: String,
    /// admin, practitioner, receptionist, billing or patient (the portal).
    pub role: UserRole,
    /// invited, active or disabled. A user is disabled, never deleted: notes and audit events name it.
    pub status: UserStatus,
    /// When the row was made.
    pub created_at: DateTimeUtc,
    /// When the row last changed; kept by trigger.
    pub updated_at: DateTimeUtc,
}

/// What a row refers to and is referred to by; every join carries the tenant.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    /// `tenant_id` names a row of `tenants`.
    #[sea_orm(
        belongs_to = "super::tenants::Entity",
        from = "Column::TenantId",
        to = "super::tenants::Column::TenantId"
    )]
    Tenant,
}

impl Related<super::tenants::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Tenant.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
