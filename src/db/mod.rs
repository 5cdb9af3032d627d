//! Reaching PostgreSQL: names, targets, connections.

pub mod ident;
