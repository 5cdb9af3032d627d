//! `patients`: Patients of a clinic; archived, never deleted.

use sea_orm::entity::prelude::*;

use super::ids::{PatientId, TenantId, UserId};

/// Administrative sex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Sex {
    /// Female.
    #[sea_orm(string_value = "female")]
    Female,
    /// Male.
    #[sea_orm(string_value = "male")]
    Male,
    /// Other.
    #[sea_orm(string_value = "other")]
    Other,
    /// Unknown.
    #[sea_orm(string_value = "unknown")]
    Unknown,
}

/// Language for letters and reminders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Language {
    /// English.
    #[sea_orm(string_value = "en")]
    En,
    /// French.
    #[sea_orm(string_value = "fr")]
    Fr,
}

/// A row of `patients`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "patients")]
pub struct Model {
    /// The clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The patient within the clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PatientId,
    /// Medical record number; unique within the clinic.
    #[sea_orm(column_type = "Text")]
    pub mrn: String,
    /// Given names.
    #[sea_orm(column_type = "Text")]
    pub given_name: String,
    /// Family name.
    #[sea_orm(column_type = "Text")]
    pub family_name: String,
    /// What the patient wishes to be called, where it differs.
    #[sea_orm(column_type = "Text", nullable)]
    pub preferred_name: Option<String>,
    /// Date of birth.
    pub birth_date: Date,
    /// Administrative sex: female, male, other or unknown (HL7 administrative gender).
    pub sex: Sex,
    /// Language for letters and reminders: en or fr.
    pub language: Language,
    /// Telephone number as given.
    #[sea_orm(column_type = "Text", nullable)]
    pub phone: Option<String>,
    /// Address for reminders; not a sign-in.
    #[sea_orm(column_type = "Text", nullable)]
    pub email: Option<String>,
    /// Postal address as written on a letter.
    #[sea_orm(column_type = "Text", nullable)]
    pub address: Option<String>,
    /// Provincial health insurance number as printed on the card.
    #[sea_orm(column_type = "Text", nullable)]
    pub health_insurance_number: Option<String>,
    /// The practitioner who follows the patient, if one does.
    pub primary_practitioner_id: Option<UserId>,
    /// The user with role patient through whom the patient signs in, if any.
    pub portal_user_id: Option<UserId>,
    /// Since when the patient is no longer followed; null while active.
    pub archived_at: Option<DateTimeUtc>,
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
    /// `tenant_id, primary_practitioner_id` names a row of `users`.
    #[sea_orm(
        belongs_to = "super::users::Entity",
        from = "(Column::TenantId, Column::PrimaryPractitionerId)",
        to = "(super::users::Column::TenantId, super::users::Column::Id)"
    )]
    PrimaryPractitioner,
    /// `tenant_id, portal_user_id` names a row of `users`.
    #[sea_orm(
        belongs_to = "super::users::Entity",
        from = "(Column::TenantId, Column::PortalUserId)",
        to = "(super::users::Column::TenantId, super::users::Column::Id)"
    )]
    PortalUser,
    /// Rows of `appointments` that name this one.
    #[sea_orm(has_many = "super::appointments::Entity")]
    Appointments,
    /// Rows of `encounters` that name this one.
    #[sea_orm(has_many = "super::encounters::Entity")]
    Encounters,
}

impl Related<super::tenants::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Tenant.def()
    }
}

impl Related<super::appointments::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Appointments.def()
    }
}

impl Related<super::encounters::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Encounters.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
