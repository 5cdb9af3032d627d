//! What a migration does to isolation: it widens who reaches which rows, narrows
//! it, or is neutral.
//!
//! Told from the difference of two looks at the catalogue, before and after, by
//! comparisons that can be relied on: in doubt it widens. It proves nothing; that
//! is the gate's work. Not looked at: large objects, operators, casts, types, and
//! what is inside of a function's body.

mod acl;
mod compare;
mod functions;
mod policies;
mod predicate;
mod relations;
mod snapshot;

use sqlx::postgres::PgConnection;

use snapshot::{Snapshot, Texts};

use crate::migrate::touched::Touched;

/// Which way isolation moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nobody reaches more or less than before; a new table is open to its own
    /// tenants at most.
    Neutral,
    /// Somebody reaches less.
    Narrows,
    /// Somebody reaches more, or it cannot be told that nobody does.
    Widens,
}

impl Effect {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Narrows => "narrows",
            Self::Widens => "widens",
        }
    }
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// What it means for isolation.
    pub effect: Effect,
    /// The object, as in `table public.notes`.
    pub object: String,
    /// What changed, as a fragment that follows the object.
    pub what: String,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.effect.name(), self.object, self.what)
    }
}

/// All that one migration changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Effects {
    /// In order of weight: what widens first.
    pub changes: Vec<Change>,
}

impl Effects {
    fn of(mut changes: Vec<Change>) -> Self {
        changes.sort_by(|a, b| b.effect.cmp(&a.effect).then(a.object.cmp(&b.object)));
        Self { changes }
    }

    /// The whole: one change that widens makes it widen.
    pub fn effect(&self) -> Effect {
        let all = self.changes.iter().map(|change| change.effect);
        all.max().unwrap_or(Effect::Neutral)
    }
}

/// Looks before and after each migration of a run.
pub struct Watch {
    /// The session is not ours to prepare statements in.
    simple: bool,
    before: Snapshot,
    texts: Texts,
}

impl Watch {
    /// For a run; `simple` where statements cannot be kept prepared.
    pub fn new(simple: bool) -> Self {
        Self {
            simple,
            before: Snapshot::default(),
            texts: Texts::default(),
        }
    }

    /// Notes the state that a transaction starts from; none may be open.
    pub async fn before(&mut self, conn: &mut PgConnection) -> anyhow::Result<()> {
        self.before = Snapshot::read(conn, self.simple).await?;
        self.texts.add(conn, &self.before, false).await
    }

    /// What changed since the last look, inside of a transaction. The next look
    /// compares with this one. Where it is known what was `touched`, only that is read.
    pub async fn after(
        &mut self,
        conn: &mut PgConnection,
        touched: Option<&Touched>,
    ) -> anyhow::Result<Effects> {
        let now = match touched.and_then(Touched::differing) {
            Some([]) => return Ok(Effects::default()),
            Some(only) => self.before.read_again(conn, self.simple, only).await?,
            None => Snapshot::read(conn, self.simple).await?,
        };
        self.texts.add(conn, &now, true).await?;
        let changes = compare::changes(&self.before, &now, &self.texts);
        self.before = now;
        Ok(Effects::of(changes))
    }

    /// Before a look that has to be taken again: the statement may be gone with the session.
    pub fn state(&self) -> Noted {
        Noted(self.before.clone())
    }

    /// Goes back to what was noted, after a rollback.
    pub fn restore(&mut self, noted: Noted) {
        self.before = noted.0;
    }
}

/// A state to go back to.
pub struct Noted(Snapshot);
