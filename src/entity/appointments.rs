//! `appointments`: The calendar. The database refuses to book a practitioner twice.

use sea_orm::entity::prelude::*;

use super::ids::{AppointmentId, PatientId, TenantId, UserId};

/// What an appointment is booked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum AppointmentKind {
    /// Consultation.
    #[sea_orm(string_value = "consultation")]
    Consultation,
    /// Follow up.
    #[sea_orm(string_value = "follow_up")]
    FollowUp,
    /// Procedure.
    #[sea_orm(string_value = "procedure")]
    Procedure,
    /// Urgent.
    #[sea_orm(string_value = "urgent")]
    Urgent,
    /// Telehealth.
    #[sea_orm(string_value = "telehealth")]
    Telehealth,
    /// Phone.
    #[sea_orm(string_value = "phone")]
    Phone,
}

/// Where an appointment stands. Cancelled and missed ones free the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum AppointmentStatus {
    /// Booked.
    #[sea_orm(string_value = "booked")]
    Booked,
    /// Confirmed.
    #[sea_orm(string_value = "confirmed")]
    Confirmed,
    /// Arrived.
    #[sea_orm(string_value = "arrived")]
    Arrived,
    /// Completed.
    #[sea_orm(string_value = "completed")]
    Completed,
    /// Cancelled.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
    /// No show.
    #[sea_orm(string_value = "no_show")]
    NoShow,
}

/// A row of `appointments`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "appointments")]
pub struct Model {
    /// The clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The appointment within the clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AppointmentId,
    /// Who comes.
    pub patient_id: PatientId,
    /// Whom the patient sees.
    pub practitioner_id: UserId,
    /// Begin, inclusive.
    pub starts_at: DateTimeUtc,
    /// End, exclusive: the next appointment may start here.
    pub ends_at: DateTimeUtc,
    /// consultation, follow_up, procedure, urgent, telehealth or phone.
    pub kind: AppointmentKind,
    /// booked, confirmed, arrived, completed, cancelled or no_show; the last two free the time.
    pub status: AppointmentStatus,
    /// Why the patient comes, in few words.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// When the row was made.
    pub created_at: DateTimeUtc,
    /// When the row last changed; kept by trigger.
    pub updated_at: DateTimeUtc,
}

/// What a row refers to and is referred to by; every join carries the tenant.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    /// `tenant_id, patient_id` names a row of `patients`.
    #[sea_orm(
        belongs_to = "super::patients::Entity",
        from = "(Column::TenantId, Column::PatientId)",
        to = "(super::patients::Column::TenantId, super::patients::Column::Id)"
    )]
    Patient,
    /// `tenant_id, practitioner_id` names a row of `users`.
    #[sea_orm(
        belongs_to = "super::users::Entity",
        from = "(Column::TenantId, Column::PractitionerId)",
        to = "(super::users::Column::TenantId, super::users::Column::Id)"
    )]
    Practitioner,
    /// Rows of `encounters` that name this one.
    #[sea_orm(has_many = "super::encounters::Entity")]
    Encounters,
}

impl Related<super::patients::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Patient.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Practitioner.def()
    }
}

impl Related<super::encounters::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Encounters.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
