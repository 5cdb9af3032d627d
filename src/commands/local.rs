//! The local server as a target: started when it is needed.

use sha2::{Digest as _, Sha256};

use crate::commands::context::Context;
use crate::db::ident::Ident;
use crate::db::{Target, connect};
use crate::dev::template::create_database;
use crate::dev::{DevServer, Started};
use crate::fault::{Code, Fault};
use crate::seed::mark_development;

/// The database of the local server.
pub const DATABASE: &str = "kine";

/// The server of `--dev-dir`, or of the project around the current folder.
pub fn server(context: &Context<'_>) -> anyhow::Result<DevServer> {
    DevServer::locate(context.global.dev_dir.as_deref())
}

/// Makes sure that it runs and has its database, marked as one for development.
pub async fn start(context: &Context<'_>, server: &DevServer) -> anyhow::Result<Started> {
    let started = server.start_prepared(&key(context).await?)?;
    if started.fresh
        && let Some(wished) = server.instead_of()
    {
        context.ui.warn(format!(
            "the server's user cannot enter `{}`; the data stands in `{}`",
            wished.display(),
            server.folder().display()
        ));
    }
    if !started.already_running {
        context.ui.say(format!(
            "started the local PostgreSQL in {} ms",
            started.took.as_millis()
        ));
    }
    match connect(&target(server), "dev").await {
        Ok(_) => Ok(started),
        Err(cause) if Fault::of(&cause).is_some_and(|fault| fault.code() == Code::NoDatabase) => {
            let mut conn = connect(
                &Target::from_options(server.connect_options("postgres")),
                "dev",
            )
            .await?;
            create_database(&mut conn, &Ident::new(DATABASE), None).await?;
            mark_development(&mut connect(&target(server), "dev").await?).await?;
            Ok(started)
        }
        Err(cause) => Err(cause),
    }
}

/// Its database as a target.
pub fn target(server: &DevServer) -> Target {
    Target::from_options(server.connect_options(DATABASE))
}

/// Under this key a prepared data folder is kept: it is right for exactly these
/// migrations and fixtures.
pub async fn key(context: &Context<'_>) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(crate::migrate::history::HISTORY_TABLES);
    for revision in context.revisions().await? {
        hash.update(&revision.name);
        hash.update(&revision.checksum);
    }
    for source in crate::seed::dev_sources() {
        hash.update(&source.path);
        hash.update(&source.text);
    }
    let digest: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("head-{digest}"))
}
