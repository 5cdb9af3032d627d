//! The migration engine: plan, lock, run, history.

pub mod adopt;
pub mod blockers;
pub mod cancel;
pub mod concurrent;
pub mod failpoint;
pub mod failure;
pub mod gate;
pub mod history;
mod index;
pub mod lex;
pub mod live;
pub mod lock;
pub mod loss;
pub mod offline;
mod outside;
pub mod plan;
mod pooler;
mod preflight;
mod record;
pub mod retry;
pub mod revision;
pub mod run;
pub mod script;
mod session;
pub mod target;
mod transaction;
mod unseen;
