//! `tenants`: Clinics. A session sees its own.

use sea_orm::entity::prelude::*;

use super::ids::TenantId;

/// Status of a clinic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum TenantStatus {
    /// Active.
    #[sea_orm(string_value = "active")]
    Active,
    /// Suspended.
    #[sea_orm(string_value = "suspended")]
    Suspended,
}

/// Language and region of a clinic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Locale {
    /// English, Canada.
    #[sea_orm(string_value = "en-CA")]
    EnCa,
    /// French, Canada.
    #[sea_orm(string_value = "fr-CA")]
    FrCa,
}

/// A row of `tenants`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "tenants")]
pub struct Model {
    /// The clinic. Chosen before the insert, which happens in the context of this very id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// Name in addresses: lower-case letters, digits, hyphens. Unique over all clinics, so only the owner writes it.
    #[sea_orm(column_type = "Text")]
    pub slug: String,
    /// Name of the clinic as people read it.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// active or suspended.
    pub status: TenantStatus,
    /// IANA time zone in which the clinic keeps its calendar.
    #[sea_orm(column_type = "Text")]
    pub time_zone: String,
    /// Language and region of the clinic's texts: en-CA or fr-CA.
    pub locale: Locale,
    /// When the row was made.
    pub created_at: DateTimeUtc,
    /// When the row last changed; kept by trigger.
    pub updated_at: DateTimeUtc,
}

/// What a row refers to and is referred to by; every join carries the tenant.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Rows of `users` that name this one.
    #[sea_orm(has_many = "super::users::Entity")]
    Users,
    /// Rows of `patients` that name this one.
    #[sea_orm(has_many = "super::patients::Entity")]
    Patients,
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Users.def()
    }
}

impl Related<super::patients::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Patients.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
