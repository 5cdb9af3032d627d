//! The SQL that writes history.

use uuid::Uuid;

use crate::db::ident::Literal;
use crate::migrate::effect::Effects;
use crate::migrate::revision::Revision;
use crate::migrate::script::Direction;

/// What a row tells beyond its columns.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Details(serde_json::Value);

impl Details {
    /// What a migration does to isolation.
    pub(crate) fn effect(effects: &Effects) -> Self {
        Self(serde_json::json!({ "effect": effects.effect(), "changes": effects.changes }))
    }

    /// What the proof found before a migration that cannot be rolled back.
    pub(crate) fn known(findings: &serde_json::Value) -> Self {
        Self(serde_json::json!({ "known": findings }))
    }

    fn literal(&self) -> String {
        Literal::new(self.0.to_string()).to_string()
    }
}

/// Inside the transaction of this id.
const IN_TRANSACTION: &str = "pg_catalog.pg_current_xact_id_if_assigned()::text =";

/// Records in sea-orm's table that a migration is applied; `name` is an expression.
fn applied(name: &str) -> String {
    format!(
        "insert into public.seaql_migrations (version, applied_at) \
         select {name}, extract(epoch from pg_catalog.now())::bigint"
    )
}

/// A row of history, its values as expressions.
struct Row<'a> {
    direction: Direction,
    name: &'a str,
    checksum: &'a str,
    outcome: &'a str,
    took: &'a str,
    step: Option<usize>,
    details: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// Of a migration that is done in the transaction which records it.
    fn of(direction: Direction, name: &'a str, checksum: &'a str) -> Self {
        Self {
            direction,
            name,
            checksum,
            outcome: "done",
            took: "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::bigint",
            step: None,
            details: None,
        }
    }
}

/// What a session has prepared: to open a transaction, and to record what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// Part of their names: those of an earlier number may be gone.
    pub(crate) number: u32,
    /// They write details too; tables of older versions have no such column.
    pub(crate) details: bool,
}

/// What every row of a run has in common.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    run_id: Uuid,
    git_commit: Option<String>,
}

impl Recorder {
    /// For the run of this id.
    pub(crate) fn new(run_id: Uuid, git_commit: Option<String>) -> Self {
        Self { run_id, git_commit }
    }

    /// The run's id.
    pub(crate) fn run_id(&self) -> Uuid {
        self.run_id
    }

    /// Records that a migration is done, in sea-orm's table and in kinedb's own,
    /// but only in the transaction of this id: a migration that ended its
    /// transaction would otherwise be recorded outside of it. The last statement
    /// touches one row.
    pub(crate) fn done(
        &self,
        direction: Direction,
        revision: &Revision,
        transaction: &str,
        details: Option<&Details>,
    ) -> String {
        let name = Literal::new(&revision.name).to_string();
        let here = format!("{IN_TRANSACTION} {}", Literal::new(transaction));
        let list = match direction {
            Direction::Up => format!("{} where {here};", applied(&name)),
            Direction::Down => {
                format!("delete from public.seaql_migrations where version = {name} and {here};")
            }
        };
        let checksum = format!("'{}'", revision.checksum);
        let details = details.map(Details::literal);
        let row = Row {
            details: details.as_deref(),
            ..Row::of(direction, &name, &checksum)
        };
        format!("{list}{} where {here}", self.row(&row))
    }

    /// Prepares what [`Self::done_prepared`] executes, both INSERTs as one statement:
    /// planning them anew for each migration costs the server more than a small
    /// migration does.
    pub(crate) fn prepare(&self, prepared: Prepared) -> String {
        let Prepared { number, details } = prepared;
        let row = Row {
            details: details.then_some("$4"),
            ..Row::of(Direction::Up, "$1", "$2")
        };
        let here = format!("where {IN_TRANSACTION} $3");
        format!(
            "prepare kinedb_done_{number} (text, text, text{}) as with applied as ({} {here}) {} {here};",
            if details { ", jsonb" } else { "" },
            applied("$1"),
            self.row(&row),
        )
    }

    /// What [`Self::done`] does on the way up, in a session that has it prepared.
    pub(crate) fn done_prepared(
        prepared: Prepared,
        revision: &Revision,
        transaction: &str,
        details: Option<&Details>,
    ) -> String {
        let Prepared {
            number,
            details: has,
        } = prepared;
        let name = Literal::new(&revision.name);
        let here = Literal::new(transaction);
        let details = match (has, details) {
            (false, _) => String::new(),
            (true, None) => ", null".to_owned(),
            (true, Some(details)) => format!(", {}", details.literal()),
        };
        format!(
            "execute kinedb_done_{number} ({name}, '{checksum}', {here}{details})",
            checksum = revision.checksum,
        )
    }

    /// Records that a migration outside a transaction has begun, or that so many
    /// of its statements are done.
    /// `checksum` is that of those statements.
    pub(crate) fn progress(
        &self,
        direction: Direction,
        revision: &Revision,
        step: usize,
        checksum: &str,
        details: Option<&Details>,
    ) -> String {
        let name = Literal::new(&revision.name).to_string();
        let checksum = format!("'{checksum}'");
        let details = details.map(Details::literal);
        self.row(&Row {
            outcome: "started",
            took: "null",
            step: Some(step),
            details: details.as_deref(),
            ..Row::of(direction, &name, &checksum)
        })
    }

    fn row(&self, row: &Row<'_>) -> String {
        let commit = self
            .git_commit
            .as_ref()
            .map_or_else(|| "null".to_owned(), |id| Literal::new(id).to_string());
        // Columns that came later are named only where there is something to write.
        let (mut columns, mut values) = (String::new(), String::new());
        if let Some(step) = row.step {
            columns.push_str(", step");
            values.push_str(&format!(", {step}"));
        }
        if let Some(details) = row.details {
            columns.push_str(", details");
            values.push_str(&format!(", {details}::jsonb"));
        }
        format!(
            "insert into public.kinedb_history \
             (run_id, name, direction, checksum, started_at, duration_ms, outcome, host, kinedb_version, git_commit{columns}) \
             select '{run}', {name}, '{direction}', {checksum}, pg_catalog.now(), {took}, '{outcome}', {host}, {version}, {commit}{values}",
            run = self.run_id,
            name = row.name,
            direction = row.direction.name(),
            checksum = row.checksum,
            took = row.took,
            outcome = row.outcome,
            host = Literal::new(host()),
            version = Literal::new(env!("CARGO_PKG_VERSION")),
        )
    }

    /// The names that this run has recorded as done in one direction, with how
    /// long each took.
    pub(crate) fn done_by_this_run(&self, direction: Direction) -> String {
        format!(
            "select name, coalesce(duration_ms, 0) from public.kinedb_history \
             where run_id = '{}' and direction = '{}' and outcome = 'done'",
            self.run_id,
            direction.name()
        )
    }
}

/// This machine's name, for history.
pub(crate) fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
