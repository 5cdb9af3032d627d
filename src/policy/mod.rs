//! What `policies/` and the entities declare, what differs from it, and where a
//! live database drifted from its history.

pub mod autogenerate;
pub mod build;
pub mod declared;
pub mod drift;
pub mod entities;
pub mod entity_changes;
pub mod generate;
pub mod reprint;
