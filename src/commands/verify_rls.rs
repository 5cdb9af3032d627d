//! `kinedb verify-rls`

use std::time::Duration;

use sqlx::PgConnection;

use crate::cli::duration;
use crate::commands::baseline::Accepting;
use crate::commands::context::Context;
use crate::db::{Target, error};
use crate::exit::Exit;
use crate::fault::{Code, Fault, fail};
use crate::migrate::history;
use crate::report::verification::{Facts, render};
use crate::report::{self, Format, table::table};
use crate::seed;
use crate::verify::finding::{Severity, Verdict};
use crate::verify::self_test::{Outcome, Score};
use crate::verify::{self, Config, Depth, Options, Report};

/// Prove that each tenant reaches its own rows and no other tenant's
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the checks and probes
    #[arg(long)]
    list: bool,
    /// Explain one: why, wrong and right SQL, the repair
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// All tenants instead of a sample
    #[arg(long, env = "KINEDB_EXHAUSTIVE")]
    exhaustive: bool,
    /// Write nothing, not even in a transaction that is rolled back
    #[arg(long, env = "KINEDB_READ_ONLY")]
    read_only: bool,
    /// Allow probes to take more than row locks where rows are real
    #[arg(long, env = "KINEDB_WRITE_PROBES", conflicts_with = "read_only")]
    write_probes: bool,
    /// Look at the catalogue only; never proves isolation by itself
    #[arg(long, env = "KINEDB_CATALOG_ONLY")]
    catalog_only: bool,
    /// Plant each kind of fault into this schema, in transactions that are rolled
    /// back, and tell which the verifier notices
    #[arg(long, conflicts_with_all = ["read_only", "catalog_only", "baseline", "write_baseline"])]
    self_test: bool,
    /// Let `--self-test` lock tables of a database that is not marked for development
    #[arg(long, env = "KINEDB_ACCEPT_LOCKS", requires = "self_test")]
    accept_locks: bool,
    /// What makes the exit code 4
    #[arg(long, env = "KINEDB_FAIL_ON", value_enum, default_value_t)]
    fail_on: FailOn,
    #[command(flatten)]
    accepting: Accepting,
    /// Let one statement take so long
    #[arg(long, env = "KINEDB_VERIFY_STATEMENT_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    statement_timeout: Duration,
    /// Wait so long for a lock
    #[arg(long, env = "KINEDB_VERIFY_LOCK_TIMEOUT", value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    lock_timeout: Duration,
}

/// The least that a statement about the whole catalogue may take.
const CATALOGUE: Duration = Duration::from_secs(30);

/// What makes the exit code 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum FailOn {
    /// Leaks, and what could not be proven
    #[default]
    Error,
    /// Leaks only, for adopting kinedb step by step
    Leak,
    /// Warnings too
    Warning,
}

impl FailOn {
    /// The weight from which findings are known to a baseline.
    fn least(self) -> Severity {
        match self {
            Self::Error | Self::Leak => Severity::Error,
            Self::Warning => Severity::Warning,
        }
    }
}

/// Verifies and reports.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    if args.list {
        return list(context);
    }
    if let Some(id) = &args.explain {
        return explain(id, context);
    }
    let accepted = args.accepting.read()?;
    let target = context.target().await?;
    let mut conn = context.connect(&target, "verify-rls").await?;
    let state = history::read(&mut conn).await?;
    state.require_version()?;
    let config = context.isolation_of(&state).await?;
    let options = Options {
        depth: if args.catalog_only {
            Depth::Catalogue
        } else {
            Depth::Full
        },
        read_only: args.read_only,
        exhaustive: args.exhaustive,
        write_probes: args.write_probes,
        statement_timeout: args.statement_timeout,
        lock_timeout: args.lock_timeout,
        connect: Some(target.options().clone()),
        ..Options::default()
    };
    if args.self_test {
        return self_test(args, &mut conn, &config, &options, context).await;
    }
    bound(&mut conn, args).await?;
    let mut report = verify::verify(&mut conn, &config, &options)
        .await
        .map_err(|cause| interrupted(cause, &target))?;
    if args.catalog_only {
        report.only_looked();
    }
    report.revision = state.head().map(str::to_owned);
    let when = now();
    let day = when.split('T').next().unwrap_or_default();
    accepted.settle(&mut report, args.fail_on.least(), day, context.ui)?;
    let facts = Facts {
        target: target.to_string(),
        when,
        command: command(args),
    };
    report::line(render(&report, &facts, context.global.format)?)?;
    if fails(&report, args.fail_on) {
        Err(refusal(&report))
    } else {
        Ok(Exit::Success)
    }
}

/// Even what only looks at the catalogue waits for tables that others have locked.
async fn bound(conn: &mut PgConnection, args: &Args) -> anyhow::Result<()> {
    let message = format!(
        "set lock_timeout = {}; set statement_timeout = {}",
        args.lock_timeout.as_millis().max(1),
        args.statement_timeout.max(CATALOGUE).as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(message))
        .execute(conn)
        .await?;
    Ok(())
}

/// What ended the verification as a whole, where that was not kinedb.
fn interrupted(cause: anyhow::Error, target: &Target) -> anyhow::Error {
    if error::connection_lost(&cause) {
        return Fault::new(
            Code::Unreachable,
            format!("the connection to {target} was lost while it was verified; nothing is proven, and nothing was changed"),
        )
        .hint("kinedb verify-rls --wait 30s")
        .into();
    }
    match error::server_error(&cause).map(|told| (told.code(), error::sentence(told))) {
        Some(("55P03" | "57014", sentence)) => Fault::new(
            Code::BudgetSpent,
            format!("the catalogue of {target} could not be read in time: {sentence}"),
        )
        .hint("kinedb verify-rls --lock-timeout 30s --statement-timeout 5m, or run it when no migration does")
        .into(),
        _ => cause,
    }
}

/// The verifier's own test on this schema.
async fn self_test(
    args: &Args,
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    context: &Context<'_>,
) -> anyhow::Result<Exit> {
    if !matches!(context.global.format, Format::Table | Format::Json) {
        return fail(
            Code::Usage,
            "a self-test has the formats `table` and `json` only",
            "leave `--format` out",
        );
    }
    let marked = seed::environment(conn).await?;
    if marked != Some(seed::Environment::Development) && !args.accept_locks {
        let what = marked.map_or_else(
            || "this database is not marked for development".to_owned(),
            |marked| format!("this database is marked `{marked}`"),
        );
        return fail(
            Code::Refused,
            format!("{what}, and each fault locks a table against reading until it is rolled back"),
            "run it on a copy, or say `--accept-locks`",
        );
    }
    let bar = context.ui.progress(0, "faults");
    let per_kind = (!args.exhaustive).then_some(verify::self_test::SAMPLE);
    let score = verify::self_test::run(
        conn,
        config,
        options,
        per_kind,
        &mut |place, total, what| {
            bar.set_length(total as u64);
            bar.set_position(place as u64);
            bar.set_message(what.to_owned());
        },
    )
    .await;
    bar.finish_and_clear();
    let score = score?;
    if context.json() {
        report::json(&score)?;
    } else {
        report::line(scored(&score))?;
    }
    if score.perfect() {
        return Ok(Exit::Success);
    }
    let what = match score.planted {
        0 => "no fault could be planted: nothing is known about the verifier".to_owned(),
        planted => format!(
            "{} of {planted} faults were missed",
            planted - score.noticed
        ),
    };
    Err(Fault::new(Code::NotIsolated, what)
        .hint("the missed ones are listed with the SQL that plants them; each is a bug of kinedb to report")
        .into())
}

fn scored(score: &Score) -> String {
    let titles = verify::self_test::kinds();
    let title = |id: &str| {
        titles
            .iter()
            .find(|kind| kind.id == id)
            .map_or("", |kind| kind.title)
    };
    let rows = score.kinds.iter().map(|(id, tally)| {
        let state = match (tally.planted, tally.noticed) {
            (0, _) if tally.possible == 0 => "no place for it".to_owned(),
            (0, _) => "not planted".to_owned(),
            (planted, noticed) => format!("{noticed} of {planted}"),
        };
        [
            (*id).to_owned(),
            state,
            tally.possible.to_string(),
            title(id).to_owned(),
        ]
    });
    let mut text = table(["FAULT", "NOTICED", "PLACES", "WHAT"], rows);
    let checks = score
        .checks
        .iter()
        .map(|(id, count)| [id.clone(), count.to_string()]);
    text += &format!("\n\n{}", table(["CHECK", "NOTICED"], checks));
    for trial in &score.trials {
        let why = trial
            .why
            .as_ref()
            .map_or_else(String::new, |why| format!(": {why}"));
        match trial.outcome {
            Outcome::Missed => {
                text += &format!(
                    "\n\nmissed: {} of {}{why}\n  {}",
                    trial.kind, trial.object, trial.sql
                );
            }
            Outcome::NotPlanted => {
                text += &format!("\n\nnot planted: {} of {}{why}", trial.kind, trial.object);
            }
            Outcome::Noticed => {}
        }
    }
    let sampled = score
        .kinds
        .values()
        .any(|tally| tally.possible > verify::self_test::SAMPLE);
    let rest =
        if sampled && score.trials.len() < score.kinds.values().map(|tally| tally.possible).sum() {
            format!(
                "; at most {} of a kind were planted, `--exhaustive` plants all",
                verify::self_test::SAMPLE
            )
        } else {
            String::new()
        };
    text += &format!(
        "\n\n{} of {} faults noticed by name, in {:.1} s{rest}",
        score.noticed,
        score.planted,
        std::time::Duration::from_millis(score.duration_ms).as_secs_f64()
    );
    text
}

/// A report that fails.
fn fails(report: &Report, fail_on: FailOn) -> bool {
    report.findings.iter().any(|finding| match fail_on {
        FailOn::Error => finding.severity == Severity::Error,
        FailOn::Leak => finding.severity == Severity::Error && finding.verdict == Verdict::Leak,
        FailOn::Warning => finding.severity >= Severity::Warning,
    }) || (fail_on != FailOn::Leak && report.verdict != Verdict::Isolated)
}

fn refusal(report: &Report) -> anyhow::Error {
    let worst = report.findings.first();
    let what = match report.verdict {
        Verdict::Leak => "isolation is broken",
        Verdict::Unproven => "isolation is not proven",
        Verdict::Isolated => "findings are left",
    };
    let first = worst.map_or_else(String::new, |finding| {
        format!(": `{}`: {}", finding.object, finding.title)
    });
    let hint = worst.map_or_else(
        || "kinedb verify-rls --list".to_owned(),
        |finding| format!("kinedb verify-rls --explain {}", finding.id),
    );
    Fault::new(Code::NotIsolated, format!("{what}{first}"))
        .hint(hint)
        .into()
}

fn list(context: &Context<'_>) -> anyhow::Result<Exit> {
    let entries = verify::list();
    if context.json() {
        let rows: Vec<_> = entries.iter().map(|entry| serde_json::json!({ "id": entry.id, "severity": entry.severity, "title": entry.title })).collect();
        report::json(&rows)?;
        return Ok(Exit::Success);
    }
    let rows = entries.iter().map(|entry| {
        let severity = match entry.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        [
            entry.id.to_owned(),
            severity.to_owned(),
            entry.title.clone(),
        ]
    });
    report::line(table(["ID", "SEVERITY", "WHAT"], rows))?;
    Ok(Exit::Success)
}

fn explain(id: &str, context: &Context<'_>) -> anyhow::Result<Exit> {
    let Some(entry) = verify::explain(id) else {
        let near = verify::list()
            .into_iter()
            .map(|entry| entry.id)
            .find(|known| known.contains(id) || id.contains(known));
        let hint = near.map_or_else(
            || "list them with `kinedb verify-rls --list`".to_owned(),
            |near| format!("kinedb verify-rls --explain {near}"),
        );
        return fail(Code::Usage, format!("there is no check `{id}`"), hint);
    };
    if context.json() {
        report::json(&serde_json::json!({
            "id": entry.id, "severity": entry.severity, "title": entry.title, "why": entry.why,
            "bad": entry.bad, "good": entry.good, "fix": entry.fix, "source": entry.source,
        }))?;
        return Ok(Exit::Success);
    }
    report::line(format!("{}: {}", entry.id, entry.title))?;
    for (label, text) in [
        ("why", &entry.why),
        ("bad", &entry.bad),
        ("good", &entry.good),
        ("fix", &entry.fix),
        ("source", &entry.source),
    ] {
        if !text.is_empty() {
            report::line(format!("\n{label}\n  {}", text.replace('\n', "\n  ")))?;
        }
    }
    Ok(Exit::Success)
}

fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The command as the report shows it: what decides the proof, nothing secret.
fn command(args: &Args) -> String {
    let mut text = "kinedb verify-rls".to_owned();
    for (given, flag) in [
        (args.exhaustive, " --exhaustive"),
        (args.read_only, " --read-only"),
        (args.write_probes, " --write-probes"),
        (args.catalog_only, " --catalog-only"),
    ] {
        if given {
            text.push_str(flag);
        }
    }
    text + args.accepting.flags()
}

/// Only findings have the other forms.
pub fn supports(format: Format) -> bool {
    matches!(format, Format::Table | Format::Json)
}
