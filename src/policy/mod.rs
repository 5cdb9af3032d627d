//! What `policies/` declares, and comparing the catalogues of two databases.

pub mod declared;
pub mod fingerprint;
