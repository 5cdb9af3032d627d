//! `note_versions`: Every version of every note, chained. Read only: the database writes it.

use sea_orm::entity::prelude::*;

use super::ids::{NoteId, TenantId, UserId};
use super::notes::{NoteStatus, Sections};

/// A row of `note_versions`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "note_versions")]
pub struct Model {
    /// The clinic.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The note.
    #[sea_orm(primary_key, auto_increment = false)]
    pub note_id: NoteId,
    /// Number of the version, from 1 without gaps.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    /// Status that the note had with this version.
    pub status: NoteStatus,
    /// Who wrote this version: the user of the session, or the note's author where no user was set.
    pub author_id: UserId,
    /// Text of the section in this version.
    #[sea_orm(column_type = "Text")]
    pub subjective: String,
    /// Text of the section in this version.
    #[sea_orm(column_type = "Text")]
    pub objective: String,
    /// Text of the section in this version.
    #[sea_orm(column_type = "Text")]
    pub assessment: String,
    /// Text of the section in this version.
    #[sea_orm(column_type = "Text")]
    pub plan: String,
    /// The clinic's own sections in this version.
    #[sea_orm(column_type = "JsonBinary")]
    pub extra_sections: Sections,
    /// Why a signed note was amended.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// When the version was written.
    pub recorded_at: DateTimeUtc,
    /// Hash of the version before; null for the first.
    pub prev_hash: Option<Vec<u8>>,
    /// SHA-256 over prev_hash and this version: see note_version_hash.
    pub hash: Vec<u8>,
}

/// What a row refers to and is referred to by; every join carries the tenant.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    /// `tenant_id, note_id` names a row of `notes`.
    #[sea_orm(
        belongs_to = "super::notes::Entity",
        from = "(Column::TenantId, Column::NoteId)",
        to = "(super::notes::Column::TenantId, super::notes::Column::Id)"
    )]
    Note,
    /// `tenant_id, author_id` names a row of `users`.
    #[sea_orm(
        belongs_to = "super::users::Entity",
        from = "(Column::TenantId, Column::AuthorId)",
        to = "(super::users::Column::TenantId, super::users::Column::Id)"
    )]
    Author,
}

impl Related<super::notes::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Note.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Author.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
