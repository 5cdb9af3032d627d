//! Reaching PostgreSQL: names, targets, connections, what the server's errors mean.

pub mod connect;
pub mod error;
pub mod ident;
mod keepalive;
mod refusal;
pub mod target;

pub use connect::connect;
pub use target::Target;
