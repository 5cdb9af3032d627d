//! A PostgreSQL for tests: one per test binary, or one of a test's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use kinedb::db::ident::Ident;
use kinedb::dev::{DevServer, template};
use sqlx::{ConnectOptions, PgConnection};

use super::guard::{Guard, KEPT};
use super::{TestDb, block_on, kinedb, target_tmp, test_programs};

/// A running server; copies of the handle share it.
#[derive(Clone)]
pub struct TestServer(Arc<Inner>);

struct Inner {
    dev: DevServer,
    /// Name of the database that is migrated to head, once it is made.
    head: Mutex<Option<Ident>>,
    _guard: Guard,
}

impl TestServer {
    /// The server that all tests of this binary share. Tests that change roles
    /// or settings take [`TestServer::own`]: those are the whole cluster's.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<TestServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            remove_what_earlier_runs_kept();
            Self::own()
        })
    }

    /// A server for one test alone, ended when its last handle is dropped.
    pub fn own() -> Self {
        Self::started(Self::place())
    }

    fn started(dev: DevServer) -> Self {
        let guard = Guard::over(dev.folder(), dev.socket_folder());
        if let Err(error) = dev.start() {
            panic!("no server for the tests: {error:#}");
        }
        Self(Arc::new(Inner {
            dev,
            head: Mutex::new(None),
            _guard: guard,
        }))
    }

    /// A server of the machine's own version, where the tests are told to use the
    /// programs of another; none where there is one version only.
    pub fn of_the_machine() -> Option<Self> {
        test_programs()?;
        let dev = DevServer::locate(Some(Self::place().folder()))
            .expect("a folder for the test server")
            .with_templates(target_tmp().join("templates"));
        Some(Self::started(dev))
    }

    /// A folder for a server that a test starts itself; nothing watches over it.
    pub fn place() -> DevServer {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = base().join(format!(
            "{}-{}-{}",
            binary_name(),
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        Self::at(&folder)
    }

    /// The same in this folder.
    pub fn at(folder: &Path) -> DevServer {
        let dev = DevServer::locate(Some(folder))
            .expect("a folder for the test server")
            .with_templates(target_tmp().join("templates"));
        match test_programs() {
            Some(bin) => dev.with_programs(bin),
            None => dev,
        }
    }

    /// The launcher behind it.
    pub fn dev(&self) -> &DevServer {
        &self.0.dev
    }

    /// A URL of the superuser.
    pub fn url(&self, database: &str) -> String {
        self.0.dev.url(database)
    }

    /// A connection of the superuser.
    pub async fn connect(&self, database: &str) -> PgConnection {
        self.0
            .dev
            .connect_options(database)
            .connect()
            .await
            .unwrap_or_else(|error| panic!("connect to `{database}`: {error}"))
    }

    /// An empty database of this name.
    pub fn database(&self, name: &str) -> TestDb {
        TestDb::create(self, name, None)
    }

    /// A database of this name, migrated to head.
    pub fn migrated_database(&self, name: &str) -> TestDb {
        TestDb::create(self, name, Some(&self.head()))
    }

    /// Keeps the folder when the process ends.
    pub(super) fn keep(&self) {
        let _ = std::fs::write(self.0.dev.folder().join(KEPT), "");
    }

    /// The database that migrated ones are copies of; the first call makes it.
    fn head(&self) -> Ident {
        let mut head = self
            .0
            .head
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(name) = &*head {
            return name.clone();
        }
        let name = Ident::new("kinedb_head");
        block_on(async {
            let mut conn = self.connect("postgres").await;
            // There from an attempt that failed: then this one fails the same way.
            template::drop_database(&mut conn, &name).await.unwrap();
            template::create_database(&mut conn, &name, None)
                .await
                .unwrap();
        });
        // The gate has tests of its own; here it would make all others wait.
        let url = self.url(name.as_str());
        kinedb(["upgrade", "--gate", "off", "--database-url", &url])
            .run()
            .ok();
        block_on(async {
            let mut conn = self.connect("postgres").await;
            template::mark_template(&mut conn, &name).await.unwrap();
        });
        *head = Some(name.clone());
        name
    }
}

fn base() -> PathBuf {
    std::env::temp_dir().join(format!(
        "kinedb-test-{}",
        rustix::process::geteuid().as_raw()
    ))
}

/// The test file's name: cargo appends a hash to the binary's.
fn binary_name() -> String {
    let path = std::env::current_exe().expect("the path of the tests");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-')
        .map_or(&*stem, |(name, _)| name)
        .to_owned()
}

/// Folders are kept until the same tests run again.
fn remove_what_earlier_runs_kept() {
    let prefix = format!("{}-", binary_name());
    for entry in std::fs::read_dir(base()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_string_lossy()
            .strip_prefix(&prefix)
            .and_then(|rest| rest.split('-').next()?.parse().ok())
            .and_then(rustix::process::Pid::from_raw);
        let maker_is_gone = pid.is_some_and(|pid| {
            rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
        });
        if maker_is_gone && entry.path().join(KEPT).exists() {
            let stopped =
                DevServer::locate(Some(&entry.path())).is_ok_and(|dev| dev.stop().is_ok());
            if stopped {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}
