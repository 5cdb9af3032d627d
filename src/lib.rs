//! kinedb migrates multi-tenant PostgreSQL databases and proves that tenants
//! stay apart.
//!
//! | module | holds |
//! |---|---|
//! | [`exit`], [`fault`] | how a run ends: exit codes, errors with a code and a hint |
//! | [`db`] | names, targets, connections |
//! | [`verify`] | the proof of isolation |

pub mod db;
pub mod exit;
pub mod fault;
pub mod verify;
