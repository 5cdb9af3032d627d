//! Scratch databases: made from the migrations, compared, dropped.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::catalogue::{self, Difference, Fingerprint};
use crate::commands::context::Context;
use crate::commands::local;
use crate::db::error::{of_sqlx, sentence};
use crate::db::ident::Ident;
use crate::db::{Target, connect};
use crate::dev::DevServer;
use crate::dev::template::{create_database, drop_database};
use crate::fault::{Code, Fault};
use crate::migrate::cancel::Cancel;
use crate::migrate::gate::Gate;
use crate::migrate::history;
use crate::migrate::revision::Revision;
use crate::migrate::run::{Options, Runner, Summary};
use crate::migrate::script::Direction;
use crate::migrate::target::Target as Goal;
use crate::policy::build::copy_rights;

const ABANDONED: &str = include_str!("sql/abandoned.sql");
const NEW_ROLES: &str = include_str!("sql/new_roles.sql");

/// A database that nobody else knows, until [`Scratch::drop`].
///
/// A session named like it is open for as long as it is in use: that ends with the
/// process, however that ends, and tells the next run what nobody will drop.
pub struct Scratch {
    server: Target,
    name: Ident,
    keeper: PgConnection,
    /// The roles that were there before, on a server that is there for scratch databases.
    roles: Option<Vec<String>>,
}

impl Scratch {
    /// Makes one on the server of this target: empty, or as a copy.
    ///
    /// # Errors
    /// `privilege` where the user may not make databases.
    pub async fn create(server: &Target, from: Option<&Scratch>) -> anyhow::Result<Self> {
        let name = Ident::new(format!("kinedb_scratch_{}", uuid::Uuid::new_v4().simple()));
        let template0 = Ident::new("template0");
        let source = from.map(|scratch| &scratch.name);
        let from = source.unwrap_or(&template0);
        let mut keeper = connect(server, "scratch").await?;
        sqlx::query(
            "select pg_catalog.set_config('application_name', $1, false), \
             pg_catalog.set_config('idle_session_timeout', '0', false)",
        )
        .bind(name.as_str())
        .execute(&mut keeper)
        .await
        .context("naming the session of a scratch database")?;
        drop_abandoned(&mut keeper).await?;
        let roles = sqlx::query_scalar("select rolname::text from pg_catalog.pg_roles")
            .fetch_all(&mut keeper)
            .await
            .context("looking for the roles of the scratch server")?;
        let made = create_database(&mut keeper, &name, Some(from)).await;
        made.map_err(|cause| {
            let why = cause.chain().find_map(|one| of_sqlx(one.downcast_ref()?));
            let why = why.map_or_else(String::new, |error| format!(": {}", sentence(error)));
            cause.context(refused(&why, "name another server with `--scratch-url`"))
        })?;
        let made = Self {
            server: server.clone(),
            name,
            keeper,
            roles: Some(roles),
        };
        if let Some(source) = source {
            copy_rights(&mut made.connect().await?, source).await?;
        }
        Ok(made)
    }

    /// The server is there for other things, too. Roles belong to the whole of it: those
    /// that migrations make stay, for somebody else may just have made one like them.
    pub fn among_others(mut self) -> Self {
        self.roles = None;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How to reach it.
    pub fn target(&self) -> Target {
        self.server.with_database(self.name.as_str())
    }

    /// A connection to it.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect(&self.target(), "scratch").await
    }

    /// Its description.
    pub async fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let mut conn = self.connect().await?;
        let found = catalogue::read(&mut conn).await;
        let _ = conn.close().await;
        found
    }

    /// Runs statements in one transaction.
    pub async fn run(&self, sql: &str) -> anyhow::Result<()> {
        let mut conn = self.connect().await?;
        conn.execute(sqlx::raw_sql("begin")).await?;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await?;
        conn.execute(sqlx::raw_sql("commit")).await?;
        let _ = conn.close().await;
        Ok(())
    }

    /// Goes up or down.
    pub async fn migrate(
        &self,
        revisions: &[Revision],
        direction: Direction,
        goal: &Goal,
        gate: Option<Gate>,
        cancel: &Cancel,
    ) -> anyhow::Result<Summary> {
        let target = self.target();
        let mut conn = connect(&target, "scratch").await?;
        let state = history::read(&mut conn).await?;
        let options = Options::default();
        let mut quiet = |_: crate::migrate::run::Event<'_>| {};
        let runner = Runner::new(
            &target,
            revisions,
            &options,
            cancel.clone(),
            gate,
            &mut quiet,
        );
        runner.run(conn, state, direction, goal).await
    }

    /// Drops it. On a server for scratch databases the roles that were made in it go
    /// too, unless another database knows them: a migration that makes a role finds
    /// none the next time.
    pub async fn drop(mut self) -> anyhow::Result<()> {
        let made: Vec<String> = match &self.roles {
            None => Vec::new(),
            Some(before) => sqlx::query_scalar(NEW_ROLES)
                .bind(self.name.as_str())
                .bind(before)
                .fetch_all(&mut self.keeper)
                .await
                .context("looking for the roles that migrations made")?,
        };
        drop_database(&mut self.keeper, &self.name).await?;
        for role in made {
            // One that is used elsewhere, or is not this user's to drop, stays.
            let sql = format!("drop role if exists {}", Ident::new(role));
            let _ = self.keeper.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        }
        let _ = self.keeper.close().await;
        Ok(())
    }
}

/// Drops the scratch databases of runs that were killed. What cannot be dropped,
/// because another run is at it or it is somebody else's, stays.
async fn drop_abandoned(conn: &mut PgConnection) -> anyhow::Result<()> {
    let names: Vec<String> = sqlx::query_scalar(ABANDONED)
        .fetch_all(&mut *conn)
        .await
        .context("looking for scratch databases that nobody uses")?;
    for name in names {
        let _ = drop_database(conn, &Ident::new(name)).await;
    }
    Ok(())
}

/// Which server that is, on the command line.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    /// Server for scratch databases [default: the local development server]
    #[arg(
        long,
        env = "KINEDB_SCRATCH_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    scratch_url: Option<String>,
}

/// Where scratch databases are made: a server that was named, or the local one.
pub struct Place {
    /// Its maintenance database.
    pub server: Target,
    started: Option<DevServer>,
}

impl Place {
    /// The server of `--scratch-url`; without it the local one, started if need be.
    pub async fn find(context: &Context<'_>, args: &PlaceArgs) -> anyhow::Result<Self> {
        if let Some(url) = &args.scratch_url {
            return Ok(Self {
                server: Target::from_url(url)?,
                started: None,
            });
        }
        let server = local::server(context)?;
        let how = local::start(context, &server).await?;
        Ok(Self {
            server: Target::from_options(server.connect_options("postgres")),
            started: (!how.already_running).then_some(server),
        })
    }

    /// Stops the local server if it was started for this.
    pub fn leave(self) -> anyhow::Result<()> {
        if let Some(server) = self.started {
            server.stop()?;
        }
        Ok(())
    }
}

/// How the target's catalogue differs from what the first `count` revisions make,
/// in a scratch database on the target's own server. Roles belong to the whole
/// server: those that the migrations make are left there.
pub async fn differences(
    conn: &mut PgConnection,
    target: &Target,
    revisions: &[Revision],
    count: usize,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Difference>> {
    let scratch = match Scratch::create(target, None).await {
        Err(cause) if Fault::of(&cause).is_some_and(|fault| fault.code() == Code::Privilege) => {
            let way = "skip the comparison with `--force --reason TEXT`";
            return Err(cause.context(refused(" to compare with", way)));
        }
        scratch => scratch?.among_others(),
    };
    let compared = async {
        let made = built(&scratch, revisions, count, cancel).await?;
        Ok(made.differences(&catalogue::read(conn).await?))
    }
    .await;
    scratch.drop().await?;
    compared
}

fn refused(why: &str, way: &str) -> Fault {
    Fault::new(
        Code::Privilege,
        format!("cannot make a scratch database{why}"),
    )
    .hint(format!(
        "let this user make databases (`alter role <user> createdb`), or {way}"
    ))
}

/// The description of an empty scratch database after its first `count` revisions.
pub async fn built(
    scratch: &Scratch,
    revisions: &[Revision],
    count: usize,
    cancel: &Cancel,
) -> anyhow::Result<Fingerprint> {
    scratch
        .migrate(revisions, Direction::Up, &Goal::Up(count), None, cancel)
        .await
        .map_err(|cause| cause.context("building the scratch database"))?;
    scratch.fingerprint().await
}

/// The fault of a catalogue that is another one. `what` begins the sentence.
pub fn refusal(what: &str, differences: &[Difference]) -> Fault {
    const SHOWN: usize = 20;
    let mut list: String = differences
        .iter()
        .take(SHOWN)
        .map(|one| format!("\n  {one}"))
        .collect();
    if differences.len() > SHOWN {
        list.push_str(&format!("\n  and {} more", differences.len() - SHOWN));
    }
    Fault::new(
        Code::Refused,
        format!("{what}; the database differs from what the migrations make:{list}"),
    )
    .hint("bring the database in line, or accept the difference with `--force --reason TEXT`")
}
