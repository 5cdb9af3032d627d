//! The whole trail of many clinics in one snapshot, read by two sessions where a
//! second one can be had: hashing is the server's work, and one session uses one core.

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::access::{self, Access};
use super::guard::State;
use super::heads::Heads;
use super::rows;
use super::verify::{self, Problem, Verified};

/// What is to be looked at.
pub struct Wanted<'a> {
    /// The clinics, in the order of the report.
    pub tenants: &'a [Uuid],
    /// Heads that were kept elsewhere.
    pub heads: &'a [Heads],
    /// Also every row of every audited table.
    pub rows: bool,
}

/// What was found.
#[derive(Default)]
pub struct Examined {
    /// One per clinic.
    pub verified: Vec<Verified>,
    /// In the order of clinics.
    pub problems: Vec<Problem>,
    /// Versions of notes that this session may not read were left out.
    pub versions_unseen: bool,
    /// Whether the owner of the tables can switch off what fills the trail; filled by the caller.
    pub guard: State,
}

/// A piece of work that needs nothing of the others.
#[derive(Clone, Copy)]
enum Part {
    Seals,
    Versions,
    Rows,
}

/// Looks at everything, inside a transaction begun with `begin_reading`, or two begun
/// with `begin_reading_together`. `tell` is called once per clinic and kind of work.
///
/// # Errors
/// `privilege`, a lost connection. What is wrong with the trail is no error here.
pub async fn examine(
    first: &mut PgConnection,
    second: Option<&mut PgConnection>,
    access: &Access,
    wanted: &Wanted<'_>,
    tell: &(dyn Fn() + Sync),
) -> anyhow::Result<Examined> {
    let parts: &[Part] = if wanted.rows {
        &[Part::Seals, Part::Versions, Part::Rows]
    } else {
        &[Part::Seals, Part::Versions]
    };
    let work: Vec<(Uuid, Part)> = wanted
        .tenants
        .iter()
        .flat_map(|tenant| parts.iter().map(|part| (*tenant, *part)))
        .collect();
    let queue = Queue {
        work: &work,
        next: AtomicUsize::new(0),
        access,
        wanted,
        tell,
    };
    let mut done = match second {
        Some(second) => {
            let (mut mine, theirs) = tokio::try_join!(queue.run(first), queue.run(second))?;
            mine.extend(theirs);
            mine
        }
        None => queue.run(first).await?,
    };
    done.sort_by_key(|(place, _)| *place);
    let mut all = Examined::default();
    for (_, one) in done {
        all.verified.extend(one.verified);
        all.problems.extend(one.problems);
        all.versions_unseen |= one.versions_unseen;
    }
    Ok(all)
}

struct Queue<'a> {
    work: &'a [(Uuid, Part)],
    next: AtomicUsize,
    access: &'a Access,
    wanted: &'a Wanted<'a>,
    tell: &'a (dyn Fn() + Sync),
}

impl Queue<'_> {
    /// Takes what nobody has taken until nothing is left.
    async fn run(&self, conn: &mut PgConnection) -> anyhow::Result<Vec<(usize, Examined)>> {
        let mut done = Vec::new();
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((tenant, part)) = self.work.get(place) else {
                return Ok(done);
            };
            done.push((place, self.one(conn, *tenant, *part).await?));
            (self.tell)();
        }
    }

    async fn one(
        &self,
        conn: &mut PgConnection,
        tenant: Uuid,
        part: Part,
    ) -> anyhow::Result<Examined> {
        let mut found = Examined::default();
        let problems = &mut found.problems;
        if *self.access == Access::Bound {
            access::enter(conn, tenant).await?;
        }
        match part {
            Part::Seals => {
                let heads = self.wanted.heads;
                let verified =
                    verify::verify(conn, self.access, tenant, heads.first(), problems).await?;
                for more in heads.iter().skip(1) {
                    verify::compare_heads(conn, tenant, more, problems).await?;
                }
                found.verified.push(verified);
            }
            Part::Versions => {
                found.versions_unseen = !rows::versions(conn, tenant, problems).await?;
            }
            Part::Rows => rows::reconcile(conn, tenant, problems).await?,
        }
        Ok(found)
    }
}
