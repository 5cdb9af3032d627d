//! One seal after the other: each names the hash of the one before, has the hash of its
//! own contents, and covers the events that it was written over.

use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::heads::Heads;
use super::verify::{Kind, Problem, Verified, span};
use crate::archive::hex;

/// One seal with what was found of it.
pub(super) struct Seal {
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
    pub(super) found: i64,
    found_digest: Vec<u8>,
    first: Option<String>,
    last: Option<String>,
}

impl Seal {
    pub(super) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
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
pub(super) struct Chain<'a> {
    pub(super) verified: Verified,
    kept: Option<(i64, &'a str, &'a str)>,
    /// Number and hash of the seal before the next one.
    pub(super) before: Option<(i64, Vec<u8>)>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(tenant: Uuid, heads: Option<&'a Heads>) -> Self {
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

    pub(super) fn link(&mut self, seal: &Seal, problems: &mut Vec<Problem>) {
        let written = || format!("written {}", seal.sealed_at);
        let (expected, hash_before) = match &self.before {
            Some((number, hash)) => (number + 1, Some(hash)),
            None => (1, None),
        };
        if seal.number != expected {
            let detail = format!("seals {expected} to {} are missing", seal.number - 1);
            problems.push(self.problem(Kind::SealBroken, seal, written(), detail));
        } else if seal.prev_hash.as_ref() != hash_before {
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
            && kept != hash
        {
            let detail = format!("the head kept on {taken} has another hash");
            problems.push(self.problem(Kind::TailCut, seal, written(), detail));
        }
        if seal.kind == "retired" {
            self.verified
                .retired
                .push((seal.month[..7].to_owned(), seal.events));
        } else if !seal.retired {
            self.compare_events(seal, problems);
        }
        self.verified.seals += 1;
        self.before = Some((seal.number, seal.hash.clone()));
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
}
