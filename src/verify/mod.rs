//! The proof that tenants stay apart.

pub mod config;
pub mod finding;
pub mod model;
pub mod scope;
