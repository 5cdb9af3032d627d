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
        let name = Literal::new(&revision.name);
        let here = format!(
            "pg_current_xact_id_if_assigned()::text = {}",
            Literal::new(transaction)
        );
        let list = match direction {
            Direction::Up => format!(
                "insert into public.seaql_migrations (version, applied_at) \
                 select {name}, extract(epoch from now())::bigint where {here};"
            ),
            Direction::Down => {
                format!("delete from public.seaql_migrations where version = {name} and {here};")
            }
        };
        let took = "(extract(epoch from clock_timestamp() - now()) * 1000)::bigint";
        format!(
            "{list}{} where {here}",
            self.row(
                direction,
                &revision.name,
                &revision.checksum,
                "done",
                took,
                None,
                details,
            )
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
        self.row(
            direction,
            &revision.name,
            checksum,
            "started",
            "null",
            Some(step),
            details,
        )
    }

    #[allow(clippy::too_many_arguments, reason = "one per column")]
    fn row(
        &self,
        direction: Direction,
        name: &str,
        checksum: &str,
        outcome: &str,
        took: &str,
        step: Option<usize>,
        details: Option<&Details>,
    ) -> String {
        let commit = self
            .git_commit
            .as_ref()
            .map_or_else(|| "null".to_owned(), |id| Literal::new(id).to_string());
        // Columns that came later are named only where there is something to write.
        let (mut columns, mut values) = (String::new(), String::new());
        if let Some(step) = step {
            columns.push_str(", step");
            values.push_str(&format!(", {step}"));
        }
        if let Some(Details(details)) = details {
            columns.push_str(", details");
            values.push_str(&format!(", {}::jsonb", Literal::new(details.to_string())));
        }
        format!(
            "insert into public.kinedb_history \
             (run_id, name, direction, checksum, started_at, duration_ms, outcome, host, kinedb_version, git_commit{columns}) \
             select '{run}', {name}, '{direction}', '{checksum}', now(), {took}, '{outcome}', {host}, {version}, {commit}{values}",
            run = self.run_id,
            name = Literal::new(name),
            direction = direction.name(),
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
