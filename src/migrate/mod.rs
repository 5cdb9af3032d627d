//! The migration engine: plan, lock, run, history.

pub mod cancel;
pub mod failure;
pub mod gate;
pub mod history;
pub mod lex;
pub mod live;
pub mod lock;
pub mod loss;
pub mod offline;
pub mod plan;
pub mod retry;
pub mod revision;
pub mod run;
pub mod script;
pub mod target;
