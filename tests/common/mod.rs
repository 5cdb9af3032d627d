//! What all integration tests share: a server of their own, databases named
//! after the tests, runs of the built `kinedb`, and one normaliser.
//!
//! ```ignore
//! mod common;
//! use common::{TestDb, kinedb};
//!
//! #[test]
//! fn status_of_a_migrated_database() {
//!     let db = TestDb::migrated("status_of_a_migrated_database");
//!     let run = kinedb(["status"]).on(&db).run().ok();
//!     insta::assert_snapshot!(run.normal(), @"...");
//! }
//! ```
//! One server per test binary, started by the first test that asks for it, ended
//! with the process however that ends. `KINEDB_TEST_PG_BIN` names the folder of
//! another server version to test with.

// Each test binary compiles all of it and uses a part.
#![allow(dead_code, unused_imports, unreachable_pub)]
// Helpers are not test functions, where these are allowed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod database;
mod guard;
mod normal;
mod run;
mod server;

pub use database::TestDb;
pub use guard::Guard;
pub use normal::normal;
pub use run::{Kinedb, Run, kinedb};
pub use server::TestServer;

use std::path::{Path, PathBuf};

/// Runs a future to its end, from any place: a thread of its own carries it, so
/// this works inside an async test and while dropping, too.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for one future")
                .block_on(future)
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The server programs that the tests are told to use; none: the machine's.
pub fn test_programs() -> Option<PathBuf> {
    std::env::var_os("KINEDB_TEST_PG_BIN")
        .filter(|bin| !bin.is_empty())
        .map(PathBuf::from)
}

/// A place of the build for things that outlive a run of the tests.
pub fn target_tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// What is told of tables whose `tenant` one setting names, and that `web` works with.
pub const ISOLATION: &str = r#"
[isolation]
tenant_columns = ["tenant"]
tenants = "select tenant::text from tenants"
context = ["select set_config('app.tenant', :tenant, true)"]

[[isolation.role]]
name = "web"
"#;
