//! Whether the trail is what was sealed: every seal and its events, in pieces of a chain
//! that several sessions may take, each in constant memory; and, with heads kept elsewhere, whether the chain is whole.

use std::fmt;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::access::GRANT;
use super::chain::{Chain, Seal};
use super::heads::Heads;
use super::refused;

/// What is wrong with a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Events of a sealed range are not what was sealed.
    Edited,
    /// Events of a sealed range are missing.
    Deleted,
    /// Events have come to a sealed range.
    Inserted,
    /// A seal is not what it was when it was written, or is missing.
    SealBroken,
    /// The chain is shorter than a head that was kept elsewhere, or another one.
    TailCut,
    /// What writes or guards the trail is switched off, changed, or owned by another role.
    Guard,
    /// A version of a note is not what was written.
    NoteVersion,
    /// A row and its trail do not agree.
    Row,
}

/// One finding, with the range it lies in. Never holds contents of rows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// What is wrong.
    pub kind: Kind,
    /// The clinic; none where it is about the database.
    pub tenant: Option<Uuid>,
    /// Number of the first seal that is concerned.
    pub seal: Option<i64>,
    /// Where: a range of times in UTC, a table, a note.
    pub range: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            Kind::Edited => "edited",
            Kind::Deleted => "deleted",
            Kind::Inserted => "inserted",
            Kind::SealBroken => "seal broken",
            Kind::TailCut => "tail cut",
            Kind::Guard => "guard",
            Kind::NoteVersion => "note version",
            Kind::Row => "row",
        };
        write!(f, "{word}: ")?;
        if let Some(tenant) = self.tenant {
            write!(f, "clinic {tenant}, ")?;
        }
        if let Some(seal) = self.seal {
            write!(f, "seal {seal}, ")?;
        }
        write!(f, "{}: {}", self.range, self.detail)
    }
}

/// What was looked at in one clinic.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// The clinic.
    pub tenant: Uuid,
    /// Seals of its chain.
    pub seals: i64,
    /// Events that agree with their seals.
    pub events: i64,
    /// Events younger than the last seal: not proven by any.
    pub unsealed: i64,
    /// When the oldest of them was written.
    pub unsealed_since: Option<String>,
    /// Months that retention removed, with the number of events.
    pub retired: Vec<(String, i64)>,
    /// The newest seal.
    pub head: Option<(i64, String)>,
}

/// Some seals of one clinic, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Number of the first.
    pub from: i64,
    /// Number of the last.
    pub to: i64,
}

impl Range {
    /// A chain cut into so many pieces of about the same length, all numbers covered.
    pub fn split(newest: i64, pieces: i64) -> Vec<Self> {
        let length = (newest / pieces).max(1);
        let ends = (1..pieces)
            .map(|piece| piece * length)
            .filter(|end| *end < newest);
        let mut from = 1;
        let mut ranges = Vec::new();
        for to in ends.chain([i64::MAX]) {
            ranges.push(Self { from, to });
            from = to.saturating_add(1);
        }
        ranges
    }
}

/// What was read of the seals in a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// What agrees; nothing is known here of events younger than the last seal.
    pub verified: Verified,
    /// Events that lie in the sealed ranges, whether they agree or not.
    pub found: i64,
}

/// The events of one clinic, whatever seals say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many there are.
    pub all: i64,
    /// So many are younger than the last seal.
    pub unsealed: i64,
    /// When the oldest of these was written.
    pub since: Option<String>,
}

async fn cluster(conn: &mut PgConnection) -> anyhow::Result<i64> {
    sqlx::query_scalar("select c.system_identifier from pg_control_system() c")
        .fetch_one(&mut *conn)
        .await
        .context("cannot identify the cluster")
}

/// The number of a clinic's newest seal, zero where it has none.
///
/// # Errors
/// `privilege`, a lost connection.
pub async fn newest(conn: &mut PgConnection, tenant: Uuid) -> anyhow::Result<i64> {
    sqlx::query_scalar(
        "select coalesce(max(s.number), 0) from public.audit_seals s where s.tenant_id = $1",
    )
    .bind(tenant)
    .fetch_one(&mut *conn)
    .await
    .map_err(|cause| refused(cause, "reading the seals", GRANT))
}

/// Verifies some seals of one clinic and the events under them, inside a transaction begun
/// with `begin_reading`, in constant memory.
///
/// # Errors
/// `privilege`, a lost connection. What is wrong with the trail is no error here.
pub async fn verify(
    conn: &mut PgConnection,
    tenant: Uuid,
    range: Range,
    heads: Option<&Heads>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Piece> {
    let here = cluster(conn).await?;
    let mut chain = Chain::new(tenant, heads);
    // The seal before, which another piece looks at: this one only follows it.
    chain.before = sqlx::query_as(
        "select s.number, s.hash from public.audit_seals s \
         where s.tenant_id = $1 and s.number < $2 order by s.number desc limit 1",
    )
    .bind(tenant)
    .bind(range.from)
    .fetch_optional(&mut *conn)
    .await
    .map_err(|cause| refused(cause, "reading the seals", GRANT))?;
    let mut found = 0;
    let mut rows = sqlx::query(include_str!("sql/verify.sql"))
        .bind(tenant)
        .bind(here)
        .bind(range.from)
        .bind(range.to)
        .fetch(&mut *conn);
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(|cause| refused(cause, "reading the seals", GRANT))?
    {
        let seal = Seal::of(&row).context("cannot read a seal")?;
        found += seal.found;
        chain.link(&seal, problems);
    }
    Ok(Piece {
        verified: chain.verified,
        found,
    })
}

/// Counts the events of one clinic.
///
/// # Errors
/// `privilege`, a lost connection.
pub async fn coverage(conn: &mut PgConnection, tenant: Uuid) -> anyhow::Result<Coverage> {
    let here = cluster(conn).await?;
    let (all, unsealed, since): (i64, i64, Option<String>) =
        sqlx::query_as(include_str!("sql/coverage.sql"))
            .bind(tenant)
            .bind(here)
            .fetch_one(&mut *conn)
            .await
            .map_err(|cause| refused(cause, "counting the events", GRANT))?;
    Ok(Coverage {
        all,
        unsealed,
        since: since.filter(|_| unsealed > 0),
    })
}

/// Puts the pieces of one clinic's chain together, in their order: what no seal covers, and
/// whether the chain reaches the head that was kept.
///
/// # Errors
/// A lost connection.
pub async fn conclude(
    conn: &mut PgConnection,
    tenant: Uuid,
    pieces: Vec<Piece>,
    coverage: Coverage,
    heads: Option<&Heads>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Verified> {
    let mut verified = Verified {
        tenant,
        unsealed: coverage.unsealed,
        unsealed_since: coverage.since,
        ..Verified::default()
    };
    let mut found = 0;
    for piece in pieces {
        found += piece.found;
        verified.seals += piece.verified.seals;
        verified.events += piece.verified.events;
        verified.retired.extend(piece.verified.retired);
        verified.head = piece.verified.head.or(verified.head);
    }
    let loose = coverage.all - coverage.unsealed - found;
    if loose > 0 {
        let here = cluster(conn).await?;
        let (first, last): (Option<String>, Option<String>) =
            sqlx::query_as(include_str!("sql/loose.sql"))
                .bind(tenant)
                .bind(here)
                .fetch_one(&mut *conn)
                .await
                .map_err(|cause| refused(cause, "looking for events outside the seals", GRANT))?;
        problems.push(Problem {
            kind: Kind::Inserted,
            tenant: Some(tenant),
            seal: None,
            range: span(first.as_deref(), last.as_deref()),
            detail: format!("{loose} events that no seal covers lie among sealed ones"),
        });
    }
    let reached = verified.head.as_ref().map_or(0, |(number, _)| *number);
    if let Some(heads) = heads
        && let Some(kept) = heads.of(tenant)
        && reached < kept.number
    {
        let (number, taken) = (kept.number, &heads.taken_at);
        problems.push(Problem {
            kind: Kind::TailCut,
            tenant: Some(tenant),
            seal: Some(reached + 1),
            range: format!("seals {} to {number}", reached + 1),
            detail: format!(
                "the head kept on {taken} is seal {number}, the chain ends at {reached}"
            ),
        });
    }
    Ok(verified)
}

/// Holds the chain of one clinic against further heads that were kept elsewhere.
///
/// # Errors
/// A lost connection.
pub async fn compare_heads(
    conn: &mut PgConnection,
    tenant: Uuid,
    heads: &Heads,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<()> {
    let Some(head) = heads.of(tenant) else {
        return Ok(());
    };
    let found: Option<String> = sqlx::query_scalar(
        "select pg_catalog.encode(s.hash, 'hex') from public.audit_seals s where s.tenant_id = $1 and s.number = $2",
    )
    .bind(tenant)
    .bind(head.number)
    .fetch_optional(&mut *conn)
    .await
    .map_err(|cause| refused(cause, "reading the seals", GRANT))?;
    if found.as_deref() != Some(head.hash.as_str()) {
        let what = if found.is_some() {
            "has another hash"
        } else {
            "is not there"
        };
        problems.push(Problem {
            kind: Kind::TailCut,
            tenant: Some(tenant),
            seal: Some(head.number),
            range: format!("head kept on {}", heads.taken_at),
            detail: format!("seal {} {what}", head.number),
        });
    }
    Ok(())
}

pub(super) fn span(first: Option<&str>, last: Option<&str>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "no event left".to_owned(),
    }
}
