//! `kinedb audit`

use std::path::PathBuf;

use serde_json::json;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::audit::access::{self, Access};
use crate::audit::heads::{Head, Heads};
use crate::audit::seal::Sealed;
use crate::audit::show::{Event, Wanted};
use crate::audit::verify::{Problem, Verified};
use crate::audit::{guards, partitions, retain, rows, seal, show, verify};
use crate::commands::context::Context;
use crate::commands::encryption::Encryption;
use crate::exit::Exit;
use crate::fault::{Code, Fault, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::report::{self, table::table};

/// Seal, verify, read and retire the audit trail
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Chain what is settled of each clinic's trail, and print the heads
    Seal(SealArgs),
    /// Find edits, deletions, insertions and cut tails, and name the range
    Verify(VerifyArgs),
    /// Make monthly partitions ahead, and empty the default one
    Partitions(PartitionsArgs),
    /// Archive and remove months older than the law asks for
    Retain(RetainArgs),
    /// Show who did what in one clinic
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct SealArgs {
    /// This clinic only (repeatable)
    #[arg(long, value_name = "ID")]
    tenant: Vec<Uuid>,
    /// Write the heads to this file, to be kept where this database's administrators cannot write
    #[arg(long, env = "KINEDB_AUDIT_HEADS", value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Let a seal cover at most so many events
    #[arg(long, env = "KINEDB_AUDIT_BATCH", value_name = "N", default_value_t = seal::BATCH, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    batch: i32,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// This clinic only (repeatable)
    #[arg(long, value_name = "ID")]
    tenant: Vec<Uuid>,
    /// Compare with heads that `audit seal --heads` wrote (repeatable, the oldest are worth most)
    #[arg(long, value_name = "FILE")]
    heads: Vec<PathBuf>,
    /// Also compare every row with its trail, which reads all tables
    #[arg(long)]
    rows: bool,
}

#[derive(Debug, clap::Args)]
struct PartitionsArgs {
    /// So many months after this one
    #[arg(long, env = "KINEDB_AUDIT_AHEAD", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(0..=120))]
    ahead: i32,
}

#[derive(Debug, clap::Args)]
struct RetainArgs {
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

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The clinic
    #[arg(long, value_name = "ID")]
    tenant: Uuid,
    /// By this user only
    #[arg(long, value_name = "ID")]
    actor: Option<Uuid>,
    /// From this time on: 2026-03-01 or 2026-03-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<chrono::DateTime<chrono::Utc>>,
    /// Of this table only
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Of this row only
    #[arg(long, value_name = "ID")]
    row: Option<Uuid>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
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

/// A day or a time, in UTC.
fn moment(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    let day = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_| day()).map_err(|_| {
        format!("`{text}` is not a time; write it like 2026-03-01 or 2026-03-01T08:00:00Z")
    })
}

/// Runs one of them.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let cancel = Cancel::default();
    let work = async {
        let mut conn = context.connect(&target, "audit").await?;
        let backend = sqlx::query_scalar("select pg_catalog.pg_backend_pid()");
        cancel.set_backend(backend.fetch_one(&mut conn).await?);
        match &args.action {
            Action::Seal(args) => run_seal(args, context, &mut conn).await,
            Action::Verify(args) => run_verify(args, context, &mut conn).await,
            Action::Partitions(args) => run_partitions(args, context, &mut conn).await,
            Action::Retain(args) => run_retain(args, context, &mut conn).await,
            Action::Show(args) => run_show(args, context, &mut conn).await,
        }
    };
    cancel.guard(&target, work).await
}

async fn writable(conn: &mut PgConnection) -> anyhow::Result<()> {
    history::read(conn).await.map_or_else(
        // Whoever seals need not read the history; a standby refuses the write itself.
        |_| Ok(()),
        |state| state.require_writable(),
    )
}

fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

async fn run_seal(
    args: &SealArgs,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    writable(conn).await?;
    let tenants = if args.tenant.is_empty() {
        seal::tenants(conn).await?
    } else {
        args.tenant.clone()
    };
    let bar = context.ui.progress(tenants.len() as u64, "clinics");
    let mut all: Vec<Sealed> = Vec::new();
    for tenant in tenants {
        bar.set_message(tenant.to_string());
        all.push(seal::seal(conn, tenant, args.batch, &mut |_| {}).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let heads = Heads {
        database: database(conn).await?,
        taken_at: now(),
        heads: all.iter().filter_map(|one| one.head.clone()).collect(),
    };
    if let Some(file) = &args.heads {
        heads.write(file)?;
    }
    if context.json() {
        report::json(&json!({ "sealed": all, "heads": heads }))?;
        return Ok(Exit::Success);
    }
    let line = |one: &Sealed| {
        let (number, hash) = one
            .head
            .as_ref()
            .map_or(("-".to_owned(), "-".to_owned()), |head: &Head| {
                (head.number.to_string(), head.hash.clone())
            });
        [one.tenant.to_string(), one.events.to_string(), number, hash]
    };
    report::line(table(
        ["CLINIC", "SEALED", "SEAL", "HEAD"],
        all.iter().map(line),
    ))?;
    if args.heads.is_none() {
        context.ui.say(
            "a chain cannot see its own tail cut off: keep the heads elsewhere, with --heads FILE",
        );
    }
    Ok(Exit::Success)
}

async fn database(conn: &mut PgConnection) -> anyhow::Result<String> {
    let name = sqlx::query_scalar("select pg_catalog.current_database()::text");
    Ok(name.fetch_one(conn).await?)
}

async fn run_verify(
    args: &VerifyArgs,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    let heads: Vec<Heads> = args
        .heads
        .iter()
        .map(|file| Heads::read(file))
        .collect::<anyhow::Result<_>>()?;
    let mut problems = Vec::new();
    let verified = examine(args, context, conn, &heads, &mut problems).await?;
    if context.json() {
        report::json(&json!({
            "verdict": if problems.is_empty() { "intact" } else { "broken" },
            "clinics": verified,
            "problems": problems,
        }))?;
    } else {
        tell(&verified, &problems, heads.is_empty(), context)?;
    }
    let Some(first) = problems.first() else {
        return Ok(Exit::Success);
    };
    let rest = match problems.len() {
        1 => String::new(),
        more => format!(", and {} more", more - 1),
    };
    fail(
        Code::AuditBroken,
        format!("the audit trail is not intact: {first}{rest}"),
        "change nothing; restore a backup beside it to compare: kinedb restore BACKUP --verify",
    )
}

/// Looks at everything in one snapshot.
async fn examine(
    args: &VerifyArgs,
    context: &Context<'_>,
    conn: &mut PgConnection,
    heads: &[Heads],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<Verified>> {
    let access = access::find(conn).await?;
    access::begin_reading(conn, &access).await?;
    if !guards::present(conn, problems).await? {
        // What is left cannot be read as a trail.
        crate::audit::end(conn).await?;
        return Ok(Vec::new());
    }
    let mut tenants = if args.tenant.is_empty() {
        access::tenants(conn, &access).await?
    } else {
        args.tenant.clone()
    };
    if args.tenant.is_empty() {
        // A clinic that only a head remembers is one whose chain is gone.
        tenants.extend(
            heads
                .iter()
                .flat_map(|file| file.heads.iter().map(|head| head.tenant)),
        );
        tenants.sort_unstable();
        tenants.dedup();
    }
    guards::check(conn, problems).await?;
    let bar = context.ui.progress(tenants.len() as u64, "clinics");
    let mut verified = Vec::new();
    let mut versions_seen = true;
    for tenant in tenants {
        bar.set_message(tenant.to_string());
        let mut quiet = |_| {};
        verified.push(
            verify::verify(conn, &access, tenant, heads.first(), problems, &mut quiet).await?,
        );
        for more in heads.iter().skip(1) {
            verify::compare_heads(conn, tenant, more, problems).await?;
        }
        versions_seen &= rows::versions(conn, tenant, problems).await?;
        if args.rows {
            rows::reconcile(conn, tenant, problems).await?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    crate::audit::end(conn).await?;
    if !versions_seen {
        context
            .ui
            .say("versions of notes were not looked at: this user may not read them all");
    }
    if access == Access::Bound && args.rows {
        context
            .ui
            .say("rows were compared as far as row security lets this user see them");
    }
    Ok(verified)
}

fn tell(
    verified: &[Verified],
    problems: &[Problem],
    without_heads: bool,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let line = |one: &Verified| {
        [
            one.tenant.to_string(),
            one.seals.to_string(),
            one.events.to_string(),
            one.unsealed.to_string(),
            one.retired
                .iter()
                .map(|(month, _)| month.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        ]
    };
    report::line(table(
        ["CLINIC", "SEALS", "PROVEN", "UNSEALED", "RETIRED"],
        verified.iter().map(line),
    ))?;
    for problem in problems {
        report::line(format!("\n{problem}"))?;
    }
    if problems.is_empty() {
        report::line("\nintact")?;
    }
    if without_heads {
        context
            .ui
            .say("no heads were given: a tail that was cut off is not noticed; use --heads FILE");
    }
    Ok(())
}

async fn run_partitions(
    args: &PartitionsArgs,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    writable(conn).await?;
    let access = access::find(conn).await?;
    let months = partitions::make(conn, &access, args.ahead).await?;
    if context.json() {
        report::json(&months)?;
        return Ok(Exit::Success);
    }
    let line = |one: &partitions::Month| {
        let made = if one.made { "made" } else { "there" };
        [one.month.clone(), made.to_owned(), one.moved.to_string()]
    };
    report::line(table(
        ["MONTH", "PARTITION", "MOVED"],
        months.iter().map(line),
    ))?;
    Ok(Exit::Success)
}

async fn run_retain(
    args: &RetainArgs,
    context: &Context<'_>,
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
    refuse_broken(context, conn, !planned.is_empty()).await?;
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
    let all = VerifyArgs {
        tenant: Vec::new(),
        heads: Vec::new(),
        rows: false,
    };
    let mut problems = Vec::new();
    examine(&all, context, conn, &[], &mut problems).await?;
    match problems.first() {
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

async fn run_show(
    args: &ShowArgs,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    let wanted = Wanted {
        actor: args.actor,
        since: args.since,
        table: args.table.clone(),
        row: args.row,
        limit: args.limit,
    };
    let access = access::find(conn).await?;
    access::begin_reading(conn, &access).await?;
    let events = show::show(conn, &access, args.tenant, &wanted).await?;
    crate::audit::end(conn).await?;
    if context.json() {
        report::json(&events)?;
        return Ok(Exit::Success);
    }
    if events.is_empty() {
        report::line("no event fits")?;
        return Ok(Exit::Success);
    }
    let line = |one: &Event| {
        let what = one.row_id.map_or_else(
            || one.table_name.clone(),
            |row| format!("{} {row}", one.table_name),
        );
        [
            one.occurred_at.clone(),
            one.actor.clone(),
            one.action.clone(),
            what,
            one.changed_columns
                .as_ref()
                .map(|names| names.join(", "))
                .unwrap_or_default(),
            one.application_name.clone(),
        ]
    };
    report::line(table(
        [
            "TIME (UTC)",
            "ACTOR",
            "ACTION",
            "ROW",
            "COLUMNS",
            "APPLICATION",
        ],
        events.iter().map(line),
    ))?;
    if events.len() as i64 == args.limit {
        context
            .ui
            .say(format!("the newest {}; more with --limit", args.limit));
    }
    Ok(Exit::Success)
}
