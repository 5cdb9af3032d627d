//! `notes`: Clinical notes. Once signed, the text changes only together with `status = amended` and a new reason.

use sea_orm::entity::prelude::*;

use super::ids::{EncounterId, NoteId, TenantId, UserId};

/// The life of a note, forwards only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum NoteStatus {
    /// Draft.
    #[sea_orm(string_value = "draft")]
    Draft,
    /// Signed.
    #[sea_orm(string_value = "signed")]
    Signed,
    /// Amended.
    #[sea_orm(string_value = "amended")]
    Amended,
}

/// A section that the clinic defines, beside the four of SOAP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// The clinic's own sections, in order.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, FromJsonQueryResult,
)]
pub struct Sections(pub Vec<Section>);

/// A row of `notes`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "notes")]
pub struct Model {
    /// The clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The note within the clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: NoteId,
    /// The encounter that the note tells of.
    pub encounter_id: EncounterId,
    /// Who is responsible for the note.
    pub author_id: UserId,
    /// What the patient tells.
    #[sea_orm(column_type = "Text")]
    pub subjective: String,
    /// What is seen and measured.
    #[sea_orm(column_type = "Text")]
    pub objective: String,
    /// What the author takes it for.
    #[sea_orm(column_type = "Text")]
    pub assessment: String,
    /// What is to be done.
    #[sea_orm(column_type = "Text")]
    pub plan: String,
    /// Sections that the clinic defines, in order: [{"title": "...", "text": "..."}].
    #[sea_orm(column_type = "JsonBinary")]
    pub extra_sections: Sections,
    /// draft, signed or amended (signed, then corrected).
    pub status: NoteStatus,
    /// Grows with every change of text or status; kept by trigger; matches note_versions.
    pub version: i32,
    /// When the note was first signed; kept by trigger.
    pub signed_at: Option<DateTimeUtc>,
    /// Reason of the latest amendment; each amendment sets its own.
    #[sea_orm(column_type = "Text", nullable)]
    pub amend_reason: Option<String>,
    /// When the row was made.
    pub created_at: DateTimeUtc,
    /// When the row last changed; kept by trigger.
    pub updated_at: DateTimeUtc,
}

/// What a row refers to and is referred to by; every join carries the tenant.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    /// `tenant_id, encounter_id` names a row of `encounters`.
    #[sea_orm(
        belongs_to = "super::encounters::Entity",
        from = "(Column::TenantId, Column::EncounterId)",
        to = "(super::encounters::Column::TenantId, super::encounters::Column::Id)"
    )]
    Encounter,
    /// `tenant_id, author_id` names a row of `users`.
    #[sea_orm(
        belongs_to = "super::users::Entity",
        from = "(Column::TenantId, Column::AuthorId)",
        to = "(super::users::Column::TenantId, super::users::Column::Id)"
    )]
    Author,
    /// Rows of `note_versions` that name this one.
    #[sea_orm(has_many = "super::note_versions::Entity")]
    Versions,
}

impl Related<super::encounters::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Encounter.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Author.def()
    }
}

impl Related<super::note_versions::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Versions.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
