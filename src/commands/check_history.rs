//! The part of `check` that needs a server: every revision up, down, up with
//! isolation proven, and what is declared against what the last one leaves.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::join;
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

use crate::catalogue::{self, COLUMN_ORDER, Difference, Fingerprint};
use crate::commands::context::Context;
use crate::commands::scratch::{Place, Scratch};
use crate::fault::{Code, Fault};
use crate::migrate::cancel::Cancel;
use crate::migrate::effect::{Effect, Watch};
use crate::migrate::gate;
use crate::migrate::revision::Revision;
use crate::migrate::script::Direction;
use crate::migrate::target::Target as Goal;
use crate::policy::declared::Policies;
use crate::policy::{build, entities};
use crate::report::check::{Finding, Report, Weight};
use crate::scaffold::Project;
use crate::verify;
use crate::verify::finding::{Action, Severity};

/// Runs it all in one scratch database.
pub async fn run(
    context: &Context<'_>,
    place: &Place,
    project: Option<&Project>,
    revisions: &[Revision],
    cancel: &Cancel,
    report: &mut Report,
) -> anyhow::Result<()> {
    let scratch = Scratch::create(&place.server, None).await?;
    let outcome = async {
        let Some(head) = round_trips(context, &scratch, revisions, cancel, report).await? else {
            return Ok(());
        };
        if context.global.migrations.is_none() || project.is_some() {
            against_declared(&scratch, project, &head, report).await?;
        }
        Ok(())
    }
    .await;
    scratch.drop().await?;
    outcome
}

fn finding(
    id: &str,
    weight: Weight,
    object: &str,
    title: String,
    detail: &str,
    fix: &str,
) -> Finding {
    Finding {
        id: id.to_owned(),
        weight,
        file: None,
        line: None,
        object: Some(object.to_owned()),
        title,
        detail: detail.to_owned(),
        fix: fix.to_owned(),
    }
}

/// What stays open while revisions come and go: two sessions that keep their plans.
struct Eyes {
    catalogue: PgConnection,
    proof: PgConnection,
    watch: Watch,
    /// Findings that an earlier revision left, which are not blamed on a later one.
    known: HashSet<(String, String, Option<String>, Option<Action>)>,
}

impl Eyes {
    async fn open(scratch: &Scratch) -> anyhow::Result<Self> {
        Ok(Self {
            catalogue: scratch.connect().await?,
            proof: scratch.connect().await?,
            watch: Watch::new(false),
            known: HashSet::new(),
        })
    }

    async fn fingerprint(&mut self) -> anyhow::Result<Fingerprint> {
        catalogue::read_again(&mut self.catalogue).await
    }

    async fn effect(&mut self) -> anyhow::Result<Effect> {
        self.proof.execute("begin").await?;
        let effects = self.watch.after(&mut self.proof, None).await;
        self.proof.execute("rollback").await?;
        Ok(effects?.effect())
    }

    /// The whole proof and the description, at the same time: what is broken and was
    /// not before. At head all that is found is reported, too.
    async fn look(
        &mut self,
        context: &Context<'_>,
        head: Option<&Scratch>,
        report: &mut Report,
    ) -> anyhow::Result<(Fingerprint, Vec<verify::finding::Finding>)> {
        let (seen, proof) = join(
            catalogue::read_again(&mut self.catalogue),
            proven(&mut self.proof, context, head),
        )
        .await;
        let proof = proof?;
        if let Some(scratch) = head {
            at_head(&proof, scratch.name(), report);
        }
        let mut fresh = proof.findings;
        fresh.retain(|one| one.severity == Severity::Error && !gate::is_nothing_yet(&one.id));
        let key = |one: &verify::finding::Finding| {
            (
                one.id.clone(),
                one.object.clone(),
                one.role.clone(),
                one.action,
            )
        };
        let now: HashSet<_> = fresh.iter().map(key).collect();
        fresh.retain(|one| !self.known.contains(&key(one)));
        self.known = now;
        Ok((seen?, fresh))
    }
}

/// The whole of verify-rls on the state between two revisions, not only on what
/// the last one touched. The configuration of head meets a schema that is not
/// finished there; at head itself it has to fit.
async fn proven(
    conn: &mut PgConnection,
    context: &Context<'_>,
    head: Option<&Scratch>,
) -> anyhow::Result<verify::Report> {
    let mut config = context.isolation()?;
    if head.is_none() {
        conn.execute("begin").await?;
        let fitting = verify::unfinished::without_missing(conn, &config).await;
        conn.execute("rollback").await?;
        config = fitting?;
    }
    let options = verify::Options {
        errors_only: head.is_none(),
        keep_plans: true,
        connect: head.map(|scratch| scratch.target().options().clone()),
        ..verify::Options::default()
    };
    verify::verify(conn, &config, &options).await
}

/// Each revision up, with the whole proof after it, down, and up again. None where
/// a way back broke the chain.
async fn round_trips(
    context: &Context<'_>,
    scratch: &Scratch,
    revisions: &[Revision],
    cancel: &Cancel,
    report: &mut Report,
) -> anyhow::Result<Option<Fingerprint>> {
    let go = |direction| {
        let goal = match direction {
            Direction::Up => Goal::Up(1),
            Direction::Down => Goal::Down(1),
        };
        async move {
            scratch
                .migrate(revisions, direction, &goal, None, cancel)
                .await
        }
    };
    let mut eyes = Eyes::open(scratch).await?;
    let mut now = eyes.fingerprint().await?;
    let mut there_and_back = 0;
    for (at, one) in revisions.iter().enumerate() {
        let head = (at + 1 == revisions.len()).then_some(scratch);
        eyes.watch.before(&mut eyes.proof).await?;
        go(Direction::Up).await.map_err(again)?;
        let effect = eyes.effect().await?;
        report.basis.push(format!("{} {}", one.name, effect.name()));
        let (up, broken) = eyes.look(context, head, report).await?;
        if !broken.is_empty() {
            report.findings.push(leaks(one, &broken, scratch.name()));
        }
        match go(Direction::Down).await {
            Ok(_) => {
                differs(
                    "down",
                    one,
                    &now.differences(&eyes.fingerprint().await?),
                    report,
                );
                if let Err(cause) = go(Direction::Up).await {
                    report.findings.push(does_not_run("up-again", one, cause)?);
                    return Ok(None);
                }
                let again = eyes.fingerprint().await?;
                differs("up-again", one, &up.differences(&again), report);
                there_and_back += 1;
            }
            Err(cause)
                if Fault::of(&cause).is_some_and(|fault| fault.code() == Code::Irreversible) =>
            {
                report.findings.push(finding(
                    "down",
                    Weight::Note,
                    &one.name,
                    "there is no way back".to_owned(),
                    "",
                    "",
                ));
            }
            Err(cause) => {
                report.findings.push(does_not_run("down", one, cause)?);
                return Ok(None);
            }
        }
        now = up;
    }
    if revisions.is_empty() {
        // Nothing is proven of nothing: the proof says so.
        eyes.look(context, Some(scratch), report).await?;
    }
    report.basis.push(format!(
        "{there_and_back} of {} revisions went up, down and up again; isolation was proven whole after each",
        revisions.len()
    ));
    Ok(Some(now))
}

/// What is to be done about a migration that fails here is another `check`.
fn again(cause: anyhow::Error) -> anyhow::Error {
    match Fault::of(&cause) {
        Some(fault)
            if fault
                .hint_text()
                .is_some_and(|hint| hint.contains("kinedb upgrade")) =>
        {
            let fault = Fault::new(fault.code(), fault.to_string());
            cause.context(fault.hint("correct the file, build, then `kinedb check` again"))
        }
        _ => cause,
    }
}

/// A way that ends with an error: nothing after it can be tried. An error that is
/// not the migration's goes on.
fn does_not_run(id: &str, revision: &Revision, cause: anyhow::Error) -> anyhow::Result<Finding> {
    if Fault::of(&cause).is_none_or(|fault| fault.code() != Code::MigrationFailed) {
        return Err(cause);
    }
    let title = if id == "down" {
        "the way down does not run"
    } else {
        "after the way down, the way up does not run again"
    };
    Ok(finding(
        id,
        Weight::Error,
        &revision.name,
        title.to_owned(),
        &format!("{cause:#}"),
        "correct the way down; nothing after it was tried",
    ))
}

fn leaks(revision: &Revision, broken: &[verify::finding::Finding], scratch: &str) -> Finding {
    const SHOWN: usize = 5;
    let mut detail: Vec<String> = broken
        .iter()
        .take(SHOWN)
        .map(|one| {
            let seen = if one.detail.is_empty() {
                String::new()
            } else {
                format!(" ({})", one.detail)
            };
            format!("{} [{}]: {}{seen}", one.object, one.id, one.title)
        })
        .collect();
    if broken.len() > SHOWN {
        detail.push(format!("and {} more", broken.len() - SHOWN));
    }
    let hint = broken.first().map_or_else(String::new, |one| {
        format!("kinedb verify-rls --explain {}", one.id)
    });
    finding(
        "isolation",
        Weight::Isolation,
        &revision.name,
        "isolation is broken or not proven after this revision".to_owned(),
        &unnamed(&detail.join("; "), scratch),
        &hint,
    )
}

fn differs(id: &str, revision: &Revision, differences: &[Difference], report: &mut Report) {
    for one in differences {
        // A column that comes back stands last: nobody can put it elsewhere.
        let weight = if one.attribute.as_deref() == Some(COLUMN_ORDER) {
            Weight::Note
        } else {
            Weight::Error
        };
        let (detail, fix) = if id == "down" {
            (
                "the way down does not restore what was there before the way up",
                "complete the way down",
            )
        } else {
            (
                "after the way down, the way up gives something else",
                "complete the way down, or remove `if not exists` from the way up",
            )
        };
        report.findings.push(finding(
            id,
            weight,
            &revision.name,
            one.to_string(),
            detail,
            fix,
        ));
    }
}

/// Nobody knows the scratch database by its name.
fn unnamed(text: &str, scratch: &str) -> String {
    text.replace(scratch, "database")
}

/// All that the proof at head found.
fn at_head(proof: &verify::Report, scratch: &str, report: &mut Report) {
    for one in &proof.findings {
        let weight = match one.severity {
            Severity::Error => Weight::Isolation,
            Severity::Warning => Weight::Warning,
            Severity::Note => continue,
        };
        let who = one
            .role
            .as_deref()
            .map_or_else(String::new, |role| format!(" as {role}"));
        report.findings.push(finding(
            &one.id,
            weight,
            &format!("{}{who}", unnamed(&one.object, scratch)),
            unnamed(&one.title, scratch),
            &unnamed(&one.detail, scratch),
            &unnamed(&one.fix, scratch),
        ));
    }
    report.basis.push(format!(
        "isolation at head: {} tables, {} views, {} roles, {} probes",
        proof.checked.tables, proof.checked.views, proof.checked.roles, proof.checked.probes
    ));
}

/// `policies/` and the entities against head.
async fn against_declared(
    scratch: &Scratch,
    project: Option<&Project>,
    head: &Fingerprint,
    report: &mut Report,
) -> anyhow::Result<()> {
    let policies = match project {
        Some(project) => Policies::read(&project.policies())?,
        None => Policies::embedded()?,
    };
    let tables = entities::all();
    let mut conn = scratch.connect().await?;
    let changes = build::build(&mut conn, &policies, Some(&tables)).await?;
    for one in &changes {
        report.findings.push(finding(
            "entity",
            Weight::Error,
            &one.object,
            one.what.clone(),
            "an entity in `src/entity` declares something else than the migrations make",
            "change the entity, or write the migration: `kinedb revision --autogenerate -m TEXT`",
        ));
    }
    let mut of_entities: BTreeSet<&str> = changes.iter().map(|one| one.object.as_str()).collect();
    of_entities.retain(|object| !object.is_empty());
    let declared = scratch.fingerprint().await?;
    for one in head.differences(&declared) {
        // Said above.
        if of_entities.contains(one.object.as_str()) {
            continue;
        }
        report.findings.push(finding(
            "policies",
            Weight::Error,
            &one.object,
            one.to_string()
                .split_once(": ")
                .map_or_else(String::new, |(_, rest)| rest.to_owned()),
            "left is what the migrations make, right what `policies/` declares",
            "correct the file, or write the migration: `kinedb revision --autogenerate -m TEXT`",
        ));
    }
    report.basis.push(format!(
        "{} tables of `policies/` and {} entities compared with head",
        policies
            .classes
            .values()
            .map(|class| class.tables.len())
            .sum::<usize>(),
        tables.len()
    ));
    Ok(())
}
