//! What `upgrade` and `downgrade` share: flags of a run, and telling it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::duration;
use crate::commands::context::Context;
use crate::migrate::blockers::names;
use crate::migrate::effect::Effect;
use crate::migrate::gate;
use crate::migrate::run::{Event, Options, Step, Summary};
use crate::report;
use crate::ui::{Level, Ui};

/// Flags of a run that changes the database.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Run it for real, then roll everything back
    #[arg(long, env = "KINEDB_DRY_RUN")]
    pub dry_run: bool,
    /// Print the SQL as a script for psql instead of running it
    ///
    /// With --dry-run it is rehearsed first, and says what each migration does to isolation.
    #[arg(long, env = "KINEDB_SQL")]
    pub sql: bool,
    /// All migrations or none: one transaction for the whole run
    #[arg(long, env = "KINEDB_SINGLE_TRANSACTION")]
    pub single_transaction: bool,
    /// Go through a transaction pooler, with locks of transactions only
    #[arg(long, env = "KINEDB_ALLOW_POOLER")]
    allow_pooler: bool,
    /// How much of the proof of isolation runs before each COMMIT
    #[arg(long, env = "KINEDB_GATE", value_enum, default_value_t)]
    gate: GateDepth,
    /// Wait so long for another run
    #[arg(long, env = "KINEDB_LOCK_WAIT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub lock_wait: Duration,
    /// Let one attempt wait so long for a lock on a table
    #[arg(long, env = "KINEDB_LOCK_TIMEOUT", value_name = "DURATION", default_value = "100ms", value_parser = positive)]
    pub lock_timeout: Duration,
    /// Go on trying for so long
    #[arg(long, env = "KINEDB_LOCK_BUDGET", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub lock_budget: Duration,
    /// Let one statement take so long (0s: for ever)
    #[arg(long, env = "KINEDB_STATEMENT_TIMEOUT", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub statement_timeout: Duration,
}

/// How much of the proof runs before each COMMIT.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum GateDepth {
    /// Catalogue checks and probes
    #[default]
    Full,
    /// Catalogue checks only
    Catalog,
    /// Nothing
    Off,
}

/// Zero would switch the timeout off, and a waiting DDL would stall the application.
fn positive(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|given| {
        if given.is_zero() {
            Err("there is never an attempt without a timeout; give at least 1ms".to_owned())
        } else {
            Ok(given)
        }
    })
}

impl RunArgs {
    /// The gate's depth as the engine takes it.
    pub fn depth(&self) -> gate::Depth {
        match self.gate {
            GateDepth::Full => gate::Depth::Full,
            GateDepth::Catalog => gate::Depth::Catalog,
            GateDepth::Off => gate::Depth::Off,
        }
    }

    /// As the engine takes them.
    pub fn options(&self) -> Options {
        Options {
            lock_wait: self.lock_wait,
            lock_timeout: self.lock_timeout,
            lock_budget: self.lock_budget,
            statement_timeout: self.statement_timeout,
            single_transaction: self.single_transaction,
            dry_run: self.dry_run,
            allow_pooler: self.allow_pooler,
            git_commit: git_commit(),
            ..Options::default()
        }
    }
}

/// The commit that runs, as the usual pipelines name it.
fn git_commit() -> Option<String> {
    [
        "KINEDB_GIT_COMMIT",
        "GITHUB_SHA",
        "CI_COMMIT_SHA",
        "BUILDKITE_COMMIT",
        "GIT_COMMIT",
    ]
    .iter()
    .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Tells what a run does, line by line, on stderr and in the log.
pub fn teller<'a>(ui: &'a Ui, verb: &'a str) -> impl FnMut(Event<'_>) + 'a {
    let bar = ui.progress(0, "migrations");
    let mut run_id = None;
    move |event| {
        match &event {
            Event::Starts(id) => run_id = Some(*id),
            Event::Planned(names) => bar.set_length(names.len() as u64),
            Event::Begins(name, ..) => bar.set_message((*name).to_owned()),
            Event::Done(..) => bar.inc(1),
            _ => {}
        }
        if let Some((name, text, mut fields)) = told(&event, verb) {
            if let (Some(id), Some(fields)) = (run_id, fields.as_object_mut()) {
                fields.insert("run_id".to_owned(), json!(id));
            }
            let fields = fields.as_object().cloned().unwrap_or_default();
            bar.suspend(|| ui.tell(Level::Info, name, &text, fields));
        }
        if matches!(event, Event::Done(..)) && bar.length() == Some(bar.position()) {
            bar.finish_and_clear();
        }
    }
}

/// An event's name, its line for people, its fields for programs.
fn told(event: &Event<'_>, verb: &str) -> Option<(&'static str, String, Value)> {
    Some(match event {
        Event::Starts(_) | Event::Planned(_) | Event::Begins(..) => return None,
        Event::WaitingForLock(Some(holder)) => (
            "lock-wait",
            format!("waiting for the migration lock, held by {holder}"),
            json!({ "holder": holder }),
        ),
        Event::WaitingForLock(None) => (
            "lock-wait",
            "waiting for the migration lock".to_owned(),
            json!({}),
        ),
        Event::Retries {
            attempt,
            sqlstate,
            blockers,
            pause,
        } => {
            let reason = if *sqlstate == "40P01" {
                "lost a deadlock"
            } else {
                "could not get a lock in time"
            };
            let who = match blockers {
                [] => String::new(),
                some => format!("; in the way: {}", names(some)),
            };
            let pause = pause.as_millis();
            (
                "retry",
                format!("{reason}{who}; trying again in {pause} ms"),
                json!({ "attempt": attempt, "sqlstate": sqlstate, "blockers": blockers, "pause_ms": pause }),
            )
        }
        Event::Lost => (
            "connection-lost",
            "the connection was lost; connecting again".to_owned(),
            json!({}),
        ),
        Event::Statement(name, place, of) => (
            "statement",
            format!("{name}: statement {place} of {of}"),
            json!({ "migration": name, "statement": place, "statements": of }),
        ),
        Event::WaitingForOthers(blockers) => (
            "transaction-wait",
            format!("waiting for transactions to end: {}", names(blockers)),
            json!({ "blockers": blockers }),
        ),
        Event::Done(step) => {
            let Step {
                name,
                duration_ms,
                effect,
                changes,
                ..
            } = step;
            let mut text = format!("{verb} {name} ({duration_ms} ms)");
            if let Some(effect) = effect {
                text.push_str(&format!(": {}", effect.name()));
            }
            // What is neutral is for programs: a new schema has a hundred such lines.
            for change in changes.iter().filter(|one| one.effect != Effect::Neutral) {
                text.push_str(&format!("\n  {change}"));
            }
            (
                "migration",
                text,
                json!({ "migration": name, "outcome": verb, "duration_ms": duration_ms, "effect": effect, "changes": changes }),
            )
        }
    })
}

/// The closing line, or the summary as JSON.
pub fn conclude(
    context: &Context<'_>,
    args: &RunArgs,
    verb: &str,
    summary: &Summary,
) -> anyhow::Result<()> {
    if context.json() {
        return report::json(summary);
    }
    let head = summary.head.as_deref().unwrap_or("base");
    let count = summary.done.len();
    let plural = if count == 1 {
        "migration"
    } else {
        "migrations"
    };
    report::line(match (count, args.dry_run) {
        (0, _) => format!("nothing to do: the database is at {head}"),
        (_, true) => {
            let were = if count == 1 { "was" } else { "were" };
            format!(
                "dry run: {count} {plural} ran and {were} rolled back; the database is at {head}"
            )
        }
        _ => format!("{verb} {count} {plural}; the database is at {head}"),
    })
}
