//! `--sql`: the run as a script for psql, for those whose database is only
//! reached by a DBA.

use crate::db::ident::Literal;
use crate::fault::{Code, fail};
use crate::migrate::concurrent::{Kind, kind};
use crate::migrate::history::State;
use crate::migrate::lex;
use crate::migrate::outside;
use crate::migrate::plan::Plan;
use crate::migrate::revision::Revision;
use crate::migrate::run::Step;
use crate::migrate::script::{Direction, Script};

const HISTORY_TABLES: &str = include_str!("sql/history_tables.sql");

/// What a rehearsal found out: the steps that were run and rolled back.
pub type Rehearsed<'a> = Option<&'a [Step]>;

/// The script. A migration that asks the database while it runs cannot be part
/// of one.
pub async fn script(
    revisions: &[Revision],
    plan: &Plan,
    state: &State,
    rehearsed: Rehearsed<'_>,
) -> anyhow::Result<String> {
    let mut text = String::from(
        "-- Made by kinedb. Run it with: psql -X -f FILE\n\
         -- It does not run the gate: prove isolation afterwards with `kinedb verify-rls`.\n\
         \\set ON_ERROR_STOP on\n\n",
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
        if state.unfinished.iter().any(|one| one.name == revision.name) {
            return fail(
                Code::Unfinished,
                format!(
                    "`{}` was begun and is not finished, and a script cannot look at how far it came",
                    revision.name
                ),
                "finish it with `kinedb upgrade`: it looks at the real state and resumes",
            );
        }
        text.push_str(&format!("-- {} {}\n", revision.name, plan.direction.name()));
        text.push_str(&effect(revision, rehearsed));
        if script.no_transaction {
            step_by_step(&mut text, revision, plan.direction, &script);
        } else {
            text.push_str("begin;\n");
            text.push_str(&closed(&script.sql));
            text.push_str(&record(revision, plan.direction));
            text.push_str("commit;\n");
        }
        text.push('\n');
    }
    Ok(text.trim_end().to_owned())
}

/// What it does to isolation, as comments.
fn effect(revision: &Revision, rehearsed: Rehearsed<'_>) -> String {
    let step = rehearsed
        .into_iter()
        .flatten()
        .find(|step| step.name == revision.name);
    let Some((step, effect)) = step.and_then(|step| Some((step, step.effect?))) else {
        return "-- isolation: not known without a rehearsal (`--sql --dry-run`)\n".to_owned();
    };
    let mut text = format!("-- isolation: {}\n", effect.name());
    for change in &step.changes {
        // A line break in a name must not end the comment.
        let line = change.to_string().replace(['\n', '\r'], " ");
        text.push_str(&format!("--   {line}\n"));
    }
    text
}

/// Statement by statement, each with its record, so that `kinedb upgrade` resumes
/// where psql stopped.
fn step_by_step(text: &mut String, revision: &Revision, direction: Direction, script: &Script) {
    let ranges = lex::statements(&script.sql);
    let statements: Vec<&str> = ranges.into_iter().map(|range| &script.sql[range]).collect();
    let progress = |done: usize, checksum: &str| {
        format!(
            "insert into public.kinedb_history \
             (run_id, name, direction, checksum, started_at, outcome, kinedb_version, reason, step)\n\
             values (gen_random_uuid(), {}, '{}', '{checksum}', now(), 'started', '{}', 'offline script', {done});\n",
            Literal::new(&revision.name),
            direction.name(),
            env!("CARGO_PKG_VERSION"),
        )
    };
    text.push_str(&progress(0, &revision.checksum));
    let mut settings = String::new();
    for (place, statement) in statements.iter().enumerate() {
        let kind = kind(statement);
        if kind == Kind::Setting {
            settings.push_str(&format!("{statement};\n"));
            continue;
        }
        let done = progress(place + 1, &outside::checksum(&statements[..=place]));
        let together = kind == Kind::InTransaction;
        let (begin, commit) = if together {
            ("begin;\n", "commit;\n")
        } else {
            ("", "")
        };
        text.push_str(&format!(
            "{begin}{settings}{}reset role;\n{done}{commit}",
            closed(statement)
        ));
    }
    text.push_str(&format!("begin;\n{}commit;\n", record(revision, direction)));
}

/// With its last semicolon.
fn closed(sql: &str) -> String {
    let sql = sql.trim_end();
    let end = if sql.ends_with(';') { "\n" } else { "\n;\n" };
    format!("{sql}{end}")
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
