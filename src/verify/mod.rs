//! The proof that tenants stay apart.

pub mod config;
mod details;
pub mod finding;
mod keys;
pub mod model;
pub mod probes;
pub mod scope;
mod script;
mod session;
mod synth;
mod world;
