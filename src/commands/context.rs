//! What commands share: the target, the connection, the list of revisions.

use std::path::PathBuf;

use sqlx::postgres::PgConnection;

use crate::cli::Global;
use crate::commands::local;
use crate::db::{Target, connect};
use crate::fault::{Code, fail};
use crate::migrate::history::State;
use crate::migrate::revision::{self, Revision};
use crate::report::Format;
use crate::ui::Ui;
use crate::verify::Config;

/// The isolation of Kine's own schema.
const COMPILED_IN: &str = include_str!("../../policies/isolation.toml");

/// The environment of one command.
pub struct Context<'a> {
    /// The flags that every command takes.
    pub global: &'a Global,
    /// What people see.
    pub ui: &'a Ui,
}

impl Context<'_> {
    /// The database that the user named; with `--dev` the local server's, which
    /// is started if need be. kinedb never guesses one.
    pub async fn target(&self) -> anyhow::Result<Target> {
        if !self.global.dev {
            return self.named_target();
        }
        if self.url_on_command_line() {
            return fail(
                Code::Usage,
                "`--dev` and a database URL exclude each other",
                "leave one of them out",
            );
        }
        let server = local::server(self)?;
        local::start(self, &server).await?;
        Ok(local::target(&server))
    }

    /// A URL was given as a flag, not by the environment.
    fn url_on_command_line(&self) -> bool {
        let flag = |value: Option<&std::ffi::OsStr>, variable: &str| {
            value.is_some() && std::env::var_os(variable).as_deref() != value
        };
        flag(
            self.global
                .database_url
                .as_deref()
                .map(std::ffi::OsStr::new),
            "KINEDB_DATABASE_URL",
        ) || flag(
            self.global
                .database_url_file
                .as_deref()
                .map(std::path::Path::as_os_str),
            "KINEDB_DATABASE_URL_FILE",
        )
    }

    /// The database named by flag, file or environment.
    pub fn named_target(&self) -> anyhow::Result<Target> {
        match self.chosen_target()? {
            Some(target) => Ok(target),
            None => fail(
                Code::NoTarget,
                "no database was named, and kinedb never guesses one",
                "name it in one of three ways:\n  \
                 kinedb --database-url postgres://USER@HOST/DATABASE ...   (or DATABASE_URL, or --database-url-file FILE)\n  \
                 PGHOST=... PGDATABASE=... kinedb ...                      (libpq's variables)\n  \
                 kinedb --dev ...                                          (the local development server)",
            ),
        }
    }

    /// The same, or nothing where none was named.
    pub fn chosen_target(&self) -> anyhow::Result<Option<Target>> {
        let global = self.global;
        if let Some(url) = &global.database_url {
            let target = Target::from_url(url)?;
            if target.password_in_url() && self.url_on_command_line() {
                self.ui.warn("the password on the command line is visible to every user of this machine; use DATABASE_URL, `--database-url-file` or PGPASSFILE");
            }
            return Ok(Some(target));
        }
        if let Some(file) = &global.database_url_file {
            return Target::from_file(file).map(Some);
        }
        if let Some(url) = std::env::var_os("DATABASE_URL").filter(|value| !value.is_empty()) {
            let Some(url) = url.to_str() else {
                return fail(
                    Code::BadUrl,
                    "`DATABASE_URL` is not valid UTF-8",
                    "percent-encode special characters",
                );
            };
            return Target::from_url(url).map(Some);
        }
        Ok(Target::from_libpq_environment())
    }

    /// Names the target on stderr, then connects.
    pub async fn connect(&self, target: &Target, purpose: &str) -> anyhow::Result<PgConnection> {
        self.ui.say(target.to_string());
        connect::connect_waiting(target, purpose, self.global.wait).await
    }

    /// Reads the compiled-in migrations while the server starts the session: the two
    /// take about as long. Files may be wrong, so they are read before anything is
    /// connected to.
    pub async fn connect_and_read(
        &self,
        target: &Target,
        purpose: &str,
    ) -> anyhow::Result<(PgConnection, Vec<Revision>)> {
        if self.global.migrations.is_some() {
            let revisions = self.revisions().await?;
            return Ok((self.connect(target, purpose).await?, revisions));
        }
        tokio::try_join!(self.connect(target, purpose), self.revisions())
    }

    /// The migrations compiled in, or those of `--migrations`.
    pub async fn revisions(&self) -> anyhow::Result<Vec<Revision>> {
        revision::load(self.global.migrations.as_deref()).await
    }

    /// What verification is told about the schema of a run's migrations: the file
    /// that was named, `kinedb.toml` of this folder, what is compiled in with the
    /// migrations; else what detection finds.
    pub fn isolation(&self) -> anyhow::Result<Config> {
        match self.isolation_file() {
            Some(file) => Config::load(&file),
            None if self.global.migrations.is_none() => Config::parse(COMPILED_IN),
            None => Ok(Config::default()),
        }
    }

    /// The same for a database whose state is known: what is compiled in holds for
    /// a database that these migrations made, and for no other.
    pub async fn isolation_of(&self, state: &State) -> anyhow::Result<Config> {
        if let Some(file) = self.isolation_file() {
            return Config::load(&file);
        }
        let revisions = revision::load(None).await?;
        if revisions.iter().any(|one| state.has(&one.name)) {
            let pending = revisions.iter().filter(|one| !state.has(&one.name)).count();
            if pending > 0 {
                return fail(
                    Code::Pending,
                    format!(
                        "{pending} migrations are pending, and what is declared of isolation holds for head"
                    ),
                    "apply them with `kinedb upgrade`, or describe this state with `--config FILE`",
                );
            }
            return Config::parse(COMPILED_IN);
        }
        self.ui
            .say("no kinedb.toml: concluding from the catalogue what it would say");
        Ok(Config::default())
    }

    fn isolation_file(&self) -> Option<PathBuf> {
        let here = || Some(PathBuf::from("kinedb.toml")).filter(|file| file.is_file());
        self.global.config.clone().or_else(here)
    }

    /// The result is wanted as JSON.
    pub fn json(&self) -> bool {
        self.global.format == Format::Json
    }
}
