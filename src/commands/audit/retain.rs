//! `kinedb audit retain`

use std::path::PathBuf;

use sqlx::postgres::PgConnection;

use super::{database, verify, writable};
use crate::audit::access::{self, Access};
use crate::audit::retain;
use crate::commands::context::Context;
use crate::commands::encryption::Encryption;
use crate::db::Target;
use crate::exit::Exit;
use crate::fault::{Code, Fault, fail};
use crate::report::{self, table::table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Months that ended so long ago: 10y or 130mo
    #[arg(long, value_name = "AGE", value_parser = months)]
    older_than: i32,
    /// Folder that the archives are written to
    #[arg(long, value_name = "FOLDER")]
    archive: PathBuf,
    #[command(flatten)]
    encryption: Encryption,
    /// Really do it, for the database of this name; without it this is a dry run
    #[arg(long, value_name = "DATABASE")]
    confirm: Option<String>,
}

/// An age in months: `10y`, `130mo`.
fn months(text: &str) -> Result<i32, String> {
    let form = || format!("`{text}` is not an age; write it like 10y or 130mo");
    let (digits, factor) = match (text.strip_suffix("mo"), text.strip_suffix('y')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 12),
        (None, None) => return Err(form()),
    };
    let number: i32 = digits.parse().map_err(|_| form())?;
    if number < 0 {
        return Err(form());
    }
    number.checked_mul(factor).ok_or_else(form)
}

/// Archives and removes, or tells what it would.
pub(super) async fn run(
    args: &Args,
    context: &Context<'_>,
    target: &Target,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    let recipients = args.encryption.recipients()?;
    let planned = retain::plan(conn, args.older_than).await?;
    let name = database(conn).await?;
    match &args.confirm {
        Some(given) if *given != name => {
            return fail(
                Code::Refused,
                format!("consent was given for `{given}`, but the database is `{name}`"),
                format!("--confirm {name}"),
            );
        }
        None => {
            show_months(&planned, context)?;
            if !planned.is_empty() {
                context.ui.say(format!(
                    "a dry run: nothing was removed; add --confirm {name} to do it"
                ));
            }
            return Ok(Exit::Success);
        }
        Some(_) => {}
    }
    writable(conn).await?;
    if !args.archive.is_dir() {
        return Err(Fault::new(
            Code::BadFile,
            format!("`{}` is no folder", args.archive.display()),
        )
        .hint(format!("mkdir -p {}", args.archive.display()))
        .into());
    }
    refuse_broken(context, target, conn, !planned.is_empty()).await?;
    let mut done = Vec::new();
    for month in &planned {
        done.push(retain::retire(conn, month, &args.archive, &recipients).await?);
        context.ui.say(format!(
            "removed {}: {} events are in the archive",
            month.month, month.events
        ));
    }
    show_months(&done, context)?;
    Ok(Exit::Success)
}

/// What is not intact is evidence: it does not leave the database.
async fn refuse_broken(
    context: &Context<'_>,
    target: &Target,
    conn: &mut PgConnection,
    needed: bool,
) -> anyhow::Result<()> {
    if !needed {
        return Ok(());
    }
    if access::find(conn).await? == Access::Bound {
        context.ui.warn("this user cannot read all seals, so their digests were not recomputed; run `kinedb audit verify` with another login first");
        return Ok(());
    }
    let found = verify::examine(&verify::Args::default(), context, target, conn, &[]).await?;
    match found.problems.first() {
        None => Ok(()),
        Some(first) => fail(
            Code::AuditBroken,
            format!("the audit trail is not intact, so nothing of it is removed: {first}"),
            "kinedb audit verify",
        ),
    }
}

fn show_months(months: &[retain::Month], context: &Context<'_>) -> anyhow::Result<()> {
    if context.json() {
        return report::json(&months);
    }
    if months.is_empty() {
        return report::line("nothing is that old");
    }
    let line = |one: &retain::Month| {
        let archive = one
            .archive
            .as_ref()
            .map_or_else(|| "-".to_owned(), |file| file.display().to_string());
        [
            one.month.clone(),
            one.events.to_string(),
            one.clinics.to_string(),
            archive,
        ]
    };
    report::line(table(
        ["MONTH", "EVENTS", "CLINICS", "ARCHIVE"],
        months.iter().map(line),
    ))
}
