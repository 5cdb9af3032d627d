//! `encounters`: Meetings of a patient and a practitioner that took place.

use sea_orm::entity::prelude::*;

use super::ids::{AppointmentId, EncounterId, PatientId, TenantId, UserId};

/// Where an encounter takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum EncounterKind {
    /// In person.
    #[sea_orm(string_value = "in_person")]
    InPerson,
    /// Telehealth.
    #[sea_orm(string_value = "telehealth")]
    Telehealth,
    /// Phone.
    #[sea_orm(string_value = "phone")]
    Phone,
}

/// Where an encounter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum EncounterStatus {
    /// In progress.
    #[sea_orm(string_value = "in_progress")]
    InProgress,
    /// Completed.
    #[sea_orm(string_value = "completed")]
    Completed,
    /// Cancelled.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

/// A row of `encounters`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "encounters")]
pub struct Model {
    /// The clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The encounter within the clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: EncounterId,
    /// Who was seen.
    pub patient_id: PatientId,
    /// Who saw the patient.
    pub practitioner_id: UserId,
    /// The appointment it came from; null for a walk-in. One encounter per appointment.
    pub appointment_id: Option<AppointmentId>,
    /// in_person, telehealth or phone.
    pub kind: EncounterKind,
    /// When it began.
    pub started_at: DateTimeUtc,
    /// When it ended; null while it lasts.
    pub ended_at: Option<DateTimeUtc>,
    /// in_progress, completed or cancelled.
    pub status: EncounterStatus,
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
    /// `tenant_id, appointment_id` names a row of `appointments`.
    #[sea_orm(
        belongs_to = "super::appointments::Entity",
        from = "(Column::TenantId, Column::AppointmentId)",
        to = "(super::appointments::Column::TenantId, super::appointments::Column::Id)"
    )]
    Appointment,
    /// Rows of `notes` that name this one.
    #[sea_orm(has_many = "super::notes::Entity")]
    Notes,
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

impl Related<super::appointments::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Appointment.def()
    }
}

impl Related<super::notes::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Notes.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
