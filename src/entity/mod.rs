//! The tables as SeaORM entities, one file per table, named like it.
//!
//! What the database keeps by itself (ids, times, versions) can be left unset; so
//! can `tenant_id`, whose default is the context of the transaction. Columns that
//! the application may not write are refused by its grants, not hidden here.

pub mod appointments;
pub mod audit_events;
pub mod encounters;
pub mod ids;
pub mod note_versions;
pub mod notes;
pub mod patients;
pub mod tenants;
pub mod users;
