//! The whole trail of many clinics in one snapshot, read by two sessions where a
//! second one can be had: hashing is the server's work, and one session uses one core.

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::access::{self, Access};
use super::guard::State;
use super::heads::Heads;
use super::rows;
use super::verify::{self, Coverage, Piece, Problem, Range, Verified};

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
    Seals(Range),
    Coverage,
    Versions,
    Rows,
}

/// What came of one.
#[derive(Default)]
struct Done {
    piece: Option<Piece>,
    coverage: Option<Coverage>,
    problems: Vec<Problem>,
    versions_unseen: bool,
}

/// So many pieces of one chain at the most: enough for two sessions to end together.
const PIECES: i64 = 8;

/// Looks at everything, inside a transaction begun with `begin_reading`, or two begun
/// with `begin_reading_together`. `tell` is called after each piece of work, with the
/// number of pieces that there are.
///
/// # Errors
/// `privilege`, a lost connection. What is wrong with the trail is no error here.
pub async fn examine(
    first: &mut PgConnection,
    second: Option<&mut PgConnection>,
    access: &Access,
    wanted: &Wanted<'_>,
    tell: &(dyn Fn(usize) + Sync),
) -> anyhow::Result<Examined> {
    let pieces = if second.is_some() { PIECES } else { 1 };
    let mut work = Vec::new();
    for tenant in wanted.tenants {
        enter(first, access, *tenant).await?;
        let newest = verify::newest(first, *tenant).await?;
        let seals = Range::split(newest, pieces).into_iter().map(Part::Seals);
        work.extend(seals.map(|part| (*tenant, part)));
        work.extend([(*tenant, Part::Coverage), (*tenant, Part::Versions)]);
        if wanted.rows {
            work.push((*tenant, Part::Rows));
        }
    }
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
    let mut pieces = Vec::new();
    for (place, one) in done {
        all.problems.extend(one.problems);
        all.versions_unseen |= one.versions_unseen;
        pieces.extend(one.piece);
        // It comes behind the last piece of its clinic's chain.
        if let (Some(coverage), Some((tenant, _))) = (one.coverage, work.get(place)) {
            let (pieces, problems) = (std::mem::take(&mut pieces), &mut all.problems);
            enter(first, access, *tenant).await?;
            let kept = wanted.heads.first();
            let verified =
                verify::conclude(first, *tenant, pieces, coverage, kept, problems).await?;
            for more in wanted.heads.iter().skip(1) {
                verify::compare_heads(first, *tenant, more, problems).await?;
            }
            all.verified.push(verified);
        }
    }
    Ok(all)
}

/// Takes the context of the clinic where the session needs one.
async fn enter(conn: &mut PgConnection, access: &Access, tenant: Uuid) -> anyhow::Result<()> {
    match access {
        Access::Bound => access::enter(conn, tenant).await,
        Access::Unbound | Access::As(_) => Ok(()),
    }
}

struct Queue<'a> {
    work: &'a [(Uuid, Part)],
    next: AtomicUsize,
    access: &'a Access,
    wanted: &'a Wanted<'a>,
    tell: &'a (dyn Fn(usize) + Sync),
}

impl Queue<'_> {
    /// Takes what nobody has taken until nothing is left.
    async fn run(&self, conn: &mut PgConnection) -> anyhow::Result<Vec<(usize, Done)>> {
        let mut done = Vec::new();
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((tenant, part)) = self.work.get(place) else {
                return Ok(done);
            };
            done.push((place, self.one(conn, *tenant, *part).await?));
            (self.tell)(self.work.len());
        }
    }

    async fn one(&self, conn: &mut PgConnection, tenant: Uuid, part: Part) -> anyhow::Result<Done> {
        let mut done = Done::default();
        let problems = &mut done.problems;
        enter(conn, self.access, tenant).await?;
        match part {
            Part::Seals(range) => {
                let kept = self.wanted.heads.first();
                done.piece = Some(verify::verify(conn, tenant, range, kept, problems).await?);
            }
            Part::Coverage => done.coverage = Some(verify::coverage(conn, tenant).await?),
            Part::Versions => {
                done.versions_unseen = !rows::versions(conn, tenant, problems).await?;
            }
            Part::Rows => rows::reconcile(conn, tenant, problems).await?,
        }
        Ok(done)
    }
}
