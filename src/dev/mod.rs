//! The local PostgreSQL of a laptop or a CI job: found, made, started and
//! stopped without a service, a port or a password.
//!
//! Everything of one server lies in one folder. Nothing here prints, parses
//! arguments or needs an async runtime, except [`template`], which speaks SQL.
//! It does not download PostgreSQL and does not manage servers that others
//! started.

mod binaries;
mod cluster;
mod copy;
mod folder;
mod install;
mod lock;
mod pidfile;
mod process;
mod server;
mod site;
mod socket;
mod stale;
mod store;
pub mod template;
mod user;

pub use binaries::{Binaries, OLDEST_MAJOR, program_folders};
pub use install::install_hint;
pub use server::{DevServer, Started, State, Status};
