//! `--sql`: the run as a script for psql, for those whose database is only
//! reached by a DBA.

use crate::db::ident::Literal;
use crate::fault::{Code, fail};
use crate::migrate::history::State;
use crate::migrate::plan::Plan;
use crate::migrate::revision::Revision;
use crate::migrate::script::Direction;

const HISTORY_TABLES: &str = include_str!("sql/history_tables.sql");

/// The script. A migration that asks the database while it runs cannot be part
/// of one.
pub async fn script(revisions: &[Revision], plan: &Plan, state: &State) -> anyhow::Result<String> {
    let mut text = String::from(
        "-- Made by kinedb. Run it with: psql -X -v ON_ERROR_STOP=1 -f FILE\n\
         -- It does not run the gate: prove isolation afterwards with `kinedb verify-rls`.\n\n",
    );
    if state.no_history && !plan.steps.is_empty() {
        text.push_str(HISTORY_TABLES);
        text.push('\n');
    }
    for index in &plan.steps {
        let revision = &revisions[*index];
        let script = revision.script(plan.direction).await?;
        if script.live {
            return fail(
                Code::Usage,
                format!(
                    "`{}` asks the database while it runs, so it cannot be printed as SQL",
                    revision.name
                ),
                "run it with `kinedb upgrade`, or print up to the revision before it",
            );
        }
        let (begin, commit) = if script.no_transaction {
            ("", "")
        } else {
            ("begin;\n", "commit;\n")
        };
        text.push_str(&format!(
            "-- {} {}\n{begin}",
            revision.name,
            plan.direction.name()
        ));
        text.push_str(script.sql.trim_end());
        let closed = script.sql.trim_end().ends_with(';');
        text.push_str(if closed { "\n" } else { "\n;\n" });
        text.push_str(&record(revision, plan.direction));
        text.push_str(commit);
        text.push('\n');
    }
    Ok(text.trim_end().to_owned())
}

fn record(revision: &Revision, direction: Direction) -> String {
    let name = Literal::new(&revision.name);
    let list = match direction {
        Direction::Up => format!(
            "insert into public.seaql_migrations (version, applied_at) values ({name}, extract(epoch from now())::bigint);\n"
        ),
        Direction::Down => format!("delete from public.seaql_migrations where version = {name};\n"),
    };
    format!(
        "reset role;\n{list}insert into public.kinedb_history \
         (run_id, name, direction, checksum, started_at, outcome, kinedb_version, reason)\n\
         values (gen_random_uuid(), {name}, '{}', '{}', now(), 'done', '{}', 'offline script');\n",
        direction.name(),
        revision.checksum,
        env!("CARGO_PKG_VERSION"),
    )
}
