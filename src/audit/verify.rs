//! Whether the trail is what was sealed: every seal and its events, in one pass of
//! constant memory; and, with heads kept elsewhere, whether the chain is whole.

use std::fmt;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::access::{Access, GRANT, enter};
use super::heads::Heads;
use super::refused;
use crate::archive::hex;

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

/// Verifies one clinic inside a transaction begun with `begin_reading`.
///
/// # Errors
/// `privilege`, a lost connection. What is wrong with the trail is no error here.
pub async fn verify(
    conn: &mut PgConnection,
    access: &Access,
    tenant: Uuid,
    heads: Option<&Heads>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Verified> {
    if *access == Access::Bound {
        enter(conn, tenant).await?;
    }
    let here: i64 = sqlx::query_scalar("select c.system_identifier from pg_control_system() c")
        .fetch_one(&mut *conn)
        .await
        .context("cannot identify the cluster")?;
    let mut chain = Chain::new(tenant, heads);
    let mut found_in_seals = 0;
    {
        let mut rows = sqlx::query(include_str!("sql/verify.sql"))
            .bind(tenant)
            .bind(here)
            .fetch(&mut *conn);
        while let Some(row) = rows
            .try_next()
            .await
            .map_err(|cause| refused(cause, "reading the seals", GRANT))?
        {
            let seal = Seal::of(&row).context("cannot read a seal")?;
            found_in_seals += seal.found;
            chain.link(&seal, problems);
        }
    }
    let (all, unsealed, since): (i64, i64, Option<String>) =
        sqlx::query_as(include_str!("sql/coverage.sql"))
            .bind(tenant)
            .bind(here)
            .fetch_one(&mut *conn)
            .await
            .map_err(|cause| refused(cause, "counting the events", GRANT))?;
    let loose = all - unsealed - found_in_seals;
    if loose > 0 {
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
    chain.compare_with_head(problems);
    let mut verified = chain.verified;
    verified.unsealed = unsealed;
    verified.unsealed_since = since.filter(|_| unsealed > 0);
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

fn span(first: Option<&str>, last: Option<&str>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "no event left".to_owned(),
    }
}

/// One seal with what was found of it.
struct Seal {
    number: i64,
    kind: String,
    month: String,
    events: i64,
    retired: bool,
    sealed_at: String,
    prev_hash: Option<Vec<u8>>,
    hash: Vec<u8>,
    must_be: Vec<u8>,
    digest: Vec<u8>,
    found: i64,
    found_digest: Vec<u8>,
    first: Option<String>,
    last: Option<String>,
}

impl Seal {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            number: row.try_get(0)?,
            kind: row.try_get(1)?,
            month: row.try_get(2)?,
            events: row.try_get(3)?,
            retired: row.try_get(5)?,
            sealed_at: row.try_get(8)?,
            prev_hash: row.try_get(9)?,
            hash: row.try_get(10)?,
            must_be: row.try_get(11)?,
            digest: row.try_get(12)?,
            found: row.try_get(13)?,
            found_digest: row.try_get(14)?,
            first: row.try_get(15)?,
            last: row.try_get(16)?,
        })
    }
}

/// The chain as far as it was read.
struct Chain<'a> {
    verified: Verified,
    kept: Option<(i64, &'a str, &'a str)>,
    kept_seen: bool,
    before: Option<Vec<u8>>,
}

impl<'a> Chain<'a> {
    fn new(tenant: Uuid, heads: Option<&'a Heads>) -> Self {
        let kept = heads.and_then(|heads| {
            let head = heads.of(tenant)?;
            Some((head.number, head.hash.as_str(), heads.taken_at.as_str()))
        });
        Self {
            verified: Verified {
                tenant,
                ..Verified::default()
            },
            kept,
            kept_seen: false,
            before: None,
        }
    }

    fn problem(&self, kind: Kind, seal: &Seal, range: String, detail: String) -> Problem {
        Problem {
            kind,
            tenant: Some(self.verified.tenant),
            seal: Some(seal.number),
            range,
            detail,
        }
    }

    fn link(&mut self, seal: &Seal, problems: &mut Vec<Problem>) {
        let written = || format!("written {}", seal.sealed_at);
        let expected = self
            .verified
            .head
            .as_ref()
            .map_or(1, |(number, _)| number + 1);
        if seal.number != expected {
            let detail = format!("seals {expected} to {} are missing", seal.number - 1);
            problems.push(self.problem(Kind::SealBroken, seal, written(), detail));
        } else if seal.prev_hash != self.before {
            let detail = "it does not name the hash of the seal before".to_owned();
            problems.push(self.problem(Kind::SealBroken, seal, written(), detail));
        }
        if seal.hash != seal.must_be {
            let detail = "its hash is not that of its contents".to_owned();
            problems.push(self.problem(Kind::SealBroken, seal, written(), detail));
        }
        let hash = hex(&seal.hash);
        if let Some((number, kept, taken)) = self.kept
            && number == seal.number
        {
            self.kept_seen = true;
            if kept != hash {
                let detail = format!("the head kept on {taken} has another hash");
                problems.push(self.problem(Kind::TailCut, seal, written(), detail));
            }
        }
        if seal.kind == "retired" {
            self.verified
                .retired
                .push((seal.month[..7].to_owned(), seal.events));
        } else if !seal.retired {
            self.compare_events(seal, problems);
        }
        self.verified.seals += 1;
        self.before = Some(seal.hash.clone());
        self.verified.head = Some((seal.number, hash));
    }

    fn compare_events(&mut self, seal: &Seal, problems: &mut Vec<Problem>) {
        let kind = match seal.found.cmp(&seal.events) {
            std::cmp::Ordering::Less => Kind::Deleted,
            std::cmp::Ordering::Greater => Kind::Inserted,
            std::cmp::Ordering::Equal if seal.digest != seal.found_digest => Kind::Edited,
            std::cmp::Ordering::Equal => {
                self.verified.events += seal.events;
                return;
            }
        };
        let detail = match kind {
            Kind::Edited => format!("{} events, and not those that were sealed", seal.events),
            _ => format!(
                "{} events were sealed, {} are there",
                seal.events, seal.found
            ),
        };
        let range = match (&seal.first, &seal.last) {
            (Some(first), Some(last)) => span(Some(first), Some(last)),
            _ => format!("month {}", &seal.month[..7]),
        };
        problems.push(self.problem(kind, seal, range, detail));
    }

    fn compare_with_head(&self, problems: &mut Vec<Problem>) {
        let Some((number, _, taken)) = self.kept else {
            return;
        };
        let reached = self.verified.head.as_ref().map_or(0, |(number, _)| *number);
        if !self.kept_seen && reached < number {
            problems.push(Problem {
                kind: Kind::TailCut,
                tenant: Some(self.verified.tenant),
                seal: Some(reached + 1),
                range: format!("seals {} to {number}", reached + 1),
                detail: format!(
                    "the head kept on {taken} is seal {number}, the chain ends at {reached}"
                ),
            });
        }
    }
}
