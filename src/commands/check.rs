//! `kinedb check`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::catalogue;
use crate::commands::check_history;
use crate::commands::check_live;
use crate::commands::context::Context;
use crate::commands::scratch::{Place, PlaceArgs, Scratch, built};
use crate::exit::Exit;
use crate::fault::{Code, Fault};
use crate::lint::{self, Pair};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::migrate::plan::misfits;
use crate::migrate::revision::Revision;
use crate::migrate::run::listed;
use crate::report::check::{Finding, Report, Weight, render};
use crate::report::{self, Format, table::table};
use crate::scaffold::Project;

/// Check migrations and what is declared, or a database for drift
///
/// Without a database it is for CI: names and order, rules on the SQL, each
/// revision up, down and up again, isolation at every revision, and whether
/// `policies/` and the entities declare what the migrations make. Databases that it
/// makes for this are dropped again. With `--database-url` (or `--dev`) it compares
/// that database with what its recorded revision gives; DATABASE_URL and PG*
/// variables alone do not ask for that.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    scratch: PlaceArgs,
    /// Only names, order and rules on the SQL; starts no server
    #[arg(long, env = "KINEDB_LINT_ONLY")]
    lint_only: bool,
    /// List the rules on the SQL
    #[arg(long)]
    list: bool,
}

/// Checks and reports.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    if args.list {
        return list(context);
    }
    let since = Instant::now();
    let named = context.global.dev
        || context.global.database_url.is_some()
        || context.global.database_url_file.is_some();
    let mut report = if named {
        live(args, context).await?
    } else {
        declared(args, context).await?
    };
    report.duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.sort();
    let when = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    report::line(render(&report, &when, context.global.format)?)?;
    let count = report
        .findings
        .iter()
        .filter(|one| one.weight >= Weight::Error)
        .count();
    let places = if count == 1 { "place" } else { "places" };
    match report.worst() {
        Some(Weight::Isolation) => Err(Fault::new(
            Code::NotIsolated,
            "isolation is broken or not proven",
        )
        .hint("`kinedb verify-rls --explain ID` tells each finding's cause and repair")
        .into()),
        Some(Weight::Error) if named => Err(Fault::new(
            Code::Pending,
            format!("the database differs in {count} {places} from what its history gives"),
        )
        .hint("undo it by hand, or make it a migration: `kinedb revision -m TEXT`")
        .into()),
        Some(Weight::Error) => Err(Fault::new(
            Code::Pending,
            format!("declared state and history differ, or a rule is broken, in {count} {places}"),
        )
        .hint("`kinedb revision --autogenerate -m TEXT` writes what is missing; a rule is allowed by `-- kinedb: allow RULE: REASON`")
        .into()),
        _ => Ok(Exit::Success),
    }
}

fn list(context: &Context<'_>) -> anyhow::Result<Exit> {
    let (own, squawk) = lint::rules();
    if context.global.format != Format::Table {
        report::json(&serde_json::json!({
            "rules": own.iter().map(|rule| serde_json::json!({
                "id": rule.id, "severity": rule.weight, "title": rule.title, "why": rule.why, "fix": rule.fix,
            })).collect::<Vec<_>>(),
            "squawk": squawk,
        }))?;
        return Ok(Exit::Success);
    }
    let rows = own
        .iter()
        .map(|rule| [rule.id.to_owned(), rule.title.to_owned()])
        .chain(squawk.into_iter().map(|name| [name, "squawk".to_owned()]));
    report::line(table(["RULE", "TITLE"], rows))?;
    Ok(Exit::Success)
}

/// A live database against what its recorded revision gives.
async fn live(args: &Args, context: &Context<'_>) -> anyhow::Result<Report> {
    let target = context.target().await?;
    let revisions = context.revisions().await?;
    let mut conn = context.connect(&target, "check").await?;
    let state = history::read(&mut conn).await?;
    state.require_version()?;
    if let Some(misfit) = misfits(&listed(&revisions), &state).into_iter().next() {
        return Err(misfit.into());
    }
    let count = state.applied.len();
    let installers = check_live::installers(&mut conn).await?;
    let live = catalogue::read(&mut conn).await?;
    let here = check_live::major(&mut conn).await?;
    let cancel = Cancel::default();
    let place = Place::find(context, &args.scratch).await?;
    let work = async {
        let scratch = Scratch::create(&place.server, None).await?;
        let compared = async {
            let expected = built(&scratch, &revisions, count, &cancel).await?;
            check_live::drifted(&scratch, expected, live, here, &installers).await
        }
        .await;
        scratch.drop().await?;
        compared
    };
    let outcome = cancel.guard(&place.server, work).await;
    place.leave()?;
    let (compared, found) = outcome?;
    let head = state.head().unwrap_or("base").to_owned();
    let mut report = Report {
        basis: vec![format!(
            "{compared} attributes compared with what {count} migrations give, up to {head}"
        )],
        ..Report::default()
    };
    report.findings.extend(found.differences.iter().map(|one| {
        Finding {
            id: "drift".to_owned(),
            weight: Weight::Error,
            file: None,
            line: None,
            object: Some(one.object.clone()),
            title: one
                .to_string()
                .split_once(": ")
                .map_or_else(|| one.to_string(), |(_, rest)| rest.to_owned()),
            detail: String::new(),
            fix: String::new(),
        }
    }));
    report.findings.extend(found.notes.into_iter().map(|note| {
        let (object, title) = note.split_once(": ").unwrap_or(("database", &note));
        Finding {
            id: "drift".to_owned(),
            weight: Weight::Note,
            file: None,
            line: None,
            object: Some(object.to_owned()),
            title: title.to_owned(),
            detail: String::new(),
            fix: String::new(),
        }
    }));
    Ok(report)
}

/// Migrations, policies and entities against each other.
async fn declared(args: &Args, context: &Context<'_>) -> anyhow::Result<Report> {
    let revisions = context.revisions().await?;
    let mut project = std::env::current_dir()
        .ok()
        .and_then(|here| Project::find(&here).ok());
    if let Some(folder) = &context.global.migrations {
        // Another folder's migrations have nothing to do with what is declared here.
        project = project.filter(|project| {
            let own = std::fs::canonicalize(project.root().join("migration/src"));
            let given = std::fs::canonicalize(folder);
            matches!((own, given), (Ok(own), Ok(given)) if own == given)
        });
    }
    let mut report = Report::default();
    read_sql(context, project.as_ref(), &revisions, &mut report)?;
    // What would be built is not what is written here: no more can be said of it.
    let stale = report.findings.iter().any(|one| one.id == STALE);
    if args.lint_only || stale {
        return Ok(report);
    }
    let cancel = Cancel::default();
    let place = Place::find(context, &args.scratch).await?;
    let work = check_history::run(
        context,
        &place,
        project.as_ref(),
        &revisions,
        &cancel,
        &mut report,
    );
    let outcome = cancel.guard(&place.server, work).await;
    place.leave()?;
    outcome?;
    Ok(report)
}

/// Names, order and list; rules on the SQL.
fn read_sql(
    context: &Context<'_>,
    project: Option<&Project>,
    revisions: &[Revision],
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = match (&context.global.migrations, project) {
        (Some(folder), _) => Some((folder.clone(), folder.display().to_string())),
        (None, Some(project)) => Some((
            project.root().join("migration/src"),
            "migration/src".to_owned(),
        )),
        (None, None) => None,
    };
    let mut files: BTreeMap<String, Pair> = BTreeMap::new();
    match &folder {
        Some((folder, shown)) => read_pairs(folder, shown, &mut files)?,
        // No sources here: what is compiled in can be read all the same.
        None => {
            for one in revisions {
                let pair = files.entry(one.name.clone()).or_default();
                pair.up = Some((format!("{}.up.sql", one.name), one.up.sql.clone()));
                pair.down = Some((format!("{}.down.sql", one.name), String::new()));
            }
        }
    }
    let list = project.map(Project::listed).transpose()?;
    let mut found = lint::names(
        list.as_deref().map(|names| ("migration/src/lib.rs", names)),
        &files,
    );
    let settings = lint::Settings {
        tenant_columns: tenant_columns(&context.isolation()?),
    };
    for pair in files.values() {
        if let Some((file, sql)) = &pair.up {
            found.extend(lint::up(file, sql, &settings));
        }
        if let Some((file, sql)) = &pair.down {
            found.extend(lint::down(file, sql, &settings));
        }
    }
    if project.is_some() {
        found.extend(stale(&files, revisions));
    }
    report
        .basis
        .push(format!("{} migrations read", files.len()));
    report.findings.extend(found.into_iter().map(|one| Finding {
        id: one.rule,
        weight: match one.weight {
            lint::Weight::Warning => Weight::Warning,
            lint::Weight::Error => Weight::Error,
        },
        file: Some(one.file),
        line: Some(one.line),
        object: None,
        title: one.title,
        detail: one.why,
        fix: one.fix,
    }));
    Ok(())
}

/// The rule that only a build repairs.
const STALE: &str = "program-stale";

/// The program was built before a file changed: what it runs is not what is read.
fn stale(files: &BTreeMap<String, Pair>, revisions: &[Revision]) -> Vec<lint::Finding> {
    files
        .iter()
        .filter_map(|(name, pair)| {
            let (file, sql) = pair.up.as_ref()?;
            let built = revisions.iter().find(|one| one.name == *name);
            let same = built.is_some_and(|one| {
                one.up.live || one.checksum == crate::migrate::lex::checksum(sql)
            });
            (!same).then(|| lint::Finding {
                rule: STALE.to_owned(),
                weight: lint::Weight::Error,
                file: file.clone(),
                line: 1,
                title: format!("this kinedb was built before `{name}` got its present text"),
                why: "it checks, and would run, the migrations that are compiled into it"
                    .to_owned(),
                fix: "build again: `cargo build`".to_owned(),
            })
        })
        .collect()
}

fn read_pairs(
    folder: &Path,
    shown: &str,
    files: &mut BTreeMap<String, Pair>,
) -> anyhow::Result<()> {
    let unreadable = |cause: std::io::Error| {
        Fault::new(Code::BadFile, format!("cannot read `{shown}`: {cause}"))
            .hint("migrations are UTF-8 text in a folder that can be read")
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let (name, up) = match (file.strip_suffix(".up.sql"), file.strip_suffix(".down.sql")) {
            (Some(name), _) => (name, true),
            (_, Some(name)) => (name, false),
            _ => continue,
        };
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        let pair = files.entry(name.to_owned()).or_default();
        let entry = Some((format!("{shown}/{file}"), text));
        if up {
            pair.up = entry;
        } else {
            pair.down = entry;
        }
    }
    Ok(())
}

/// Those that the configuration names; else what this project calls it.
fn tenant_columns(config: &crate::verify::Config) -> Vec<String> {
    if config.isolation.tenant_columns.is_empty() {
        lint::Settings::default().tenant_columns
    } else {
        config.isolation.tenant_columns.clone()
    }
}
