//! What `policies/` declares, and where a live database drifted from its history.

pub mod declared;
pub mod drift;
