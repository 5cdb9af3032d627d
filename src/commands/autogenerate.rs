//! `kinedb revision --autogenerate`: head and the declared state, each in a
//! scratch database, and the SQL between them, tried both ways before it is
//! written.

use crate::catalogue::{COLUMN_ORDER, Difference, Fingerprint};
use crate::commands::context::Context;
use crate::commands::scratch::{Place, PlaceArgs, Scratch, built};
use crate::fault::{Code, Fault, fail};
use crate::migrate::cancel::Cancel;
use crate::policy::autogenerate::{Generated, write};
use crate::policy::declared::Policies;
use crate::policy::{build, entities, entity_changes};
use crate::scaffold::Project;

/// What takes head to the declared state; nothing where they are the same.
///
/// # Errors
/// `bad-file` where declared SQL does not run, or where this program was built
/// from another list of migrations.
pub async fn run(
    context: &Context<'_>,
    project: &Project,
    scratch: &PlaceArgs,
) -> anyhow::Result<Option<Generated>> {
    let policies = Policies::read(&project.policies())?;
    let revisions = context.revisions().await?;
    let built_in: Vec<&str> = revisions.iter().map(|one| one.name.as_str()).collect();
    if project.listed()? != built_in {
        return fail(
            Code::BadFile,
            "this kinedb was built from another list of migrations than `migration/src/lib.rs` has now",
            "build again: `cargo build`",
        );
    }
    let cancel = Cancel::default();
    let place = Place::find(context, scratch).await?;
    let work = async {
        let head = Scratch::create(&place.server, None).await?;
        let outcome = async {
            let before = without_place(built(&head, &revisions, revisions.len(), &cancel).await?);
            let declared = Scratch::create(&place.server, Some(&head)).await?;
            let made = state(&declared, &policies).await;
            declared.drop().await?;
            let (declared, changes) = made?;
            let mut generated = write(&before, &declared, &changes);
            if generated.is_empty() {
                return Ok(None);
            }
            let trial = Scratch::create(&place.server, Some(&head)).await?;
            let tried = tried(&trial, &generated, &before, &declared).await;
            trial.drop().await?;
            generated.left = tried?;
            Ok(Some(generated))
        }
        .await;
        head.drop().await?;
        outcome
    };
    let outcome = cancel.guard(&place.server, work).await;
    place.leave()?;
    outcome
}

async fn state(
    scratch: &Scratch,
    policies: &Policies,
) -> anyhow::Result<(Fingerprint, Vec<entity_changes::Change>)> {
    let mut conn = scratch.connect().await?;
    let changes = build::build(&mut conn, policies, Some(&entities::all())).await?;
    drop(conn);
    Ok((without_place(scratch.fingerprint().await?), changes))
}

/// Runs both ways; gives back what they leave.
async fn tried(
    trial: &Scratch,
    generated: &Generated,
    before: &Fingerprint,
    declared: &Fingerprint,
) -> anyhow::Result<Vec<String>> {
    let unusable = |way: &str| {
        Fault::new(
            Code::Refused,
            format!("the {way} that was worked out does not run; no file was written"),
        )
        .hint("write this migration by hand: `kinedb revision -m TEXT`")
    };
    let mut left = Vec::new();
    trial
        .run(&generated.up_sql())
        .await
        .map_err(|cause| cause.context(unusable("way up")))?;
    left.extend(said(
        &without_place(trial.fingerprint().await?).differences(declared),
        "",
    ));
    trial
        .run(&generated.down_sql())
        .await
        .map_err(|cause| cause.context(unusable("way down")))?;
    left.extend(said(
        &without_place(trial.fingerprint().await?).differences(before),
        "on the way down: ",
    ));
    Ok(left)
}

fn said(differences: &[Difference], way: &str) -> Vec<String> {
    differences
        .iter()
        .filter(|one| one.attribute.as_deref() != Some(COLUMN_ORDER))
        .map(|one| format!("{way}{one}"))
        .collect()
}

/// Who owns the database is decided by whoever runs the place.
fn without_place(mut of: Fingerprint) -> Fingerprint {
    of.leave_place();
    of
}
