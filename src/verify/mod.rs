//! The proof that tenants stay apart.

pub mod finding;
pub mod model;
