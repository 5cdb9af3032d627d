//! What the open transaction has changed of what decides who reaches which rows.
//!
//! Told by the versions of the catalogue's rows and by the server's counters of this
//! transaction, so that the price follows the migration, not the size of the database.
//! What is gone has no row any more: of that it tells only that there is something.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

const TOUCHED: &str = include_str!("sql/touched.sql");

/// The catalogue as the open transaction left it, against what it found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Oids of relations and functions that were made or changed.
    pub objects: Vec<u32>,
    /// A policy, trigger, constraint, rule, function or inheritance is gone.
    pub gone: bool,
    /// A relation is gone, if only the one that a table was rewritten from.
    pub removed: bool,
    /// Roles, rights of roles, schemas, extensions, or other things that concern all.
    pub global: bool,
}

impl Touched {
    /// Looks, inside of a transaction that has an id. `keep_plan`: the session is ours to
    /// keep a statement prepared in.
    pub async fn look(conn: &mut PgConnection, keep_plan: bool) -> anyhow::Result<Self> {
        let rows = conn
            .fetch_all(sqlx::query(TOUCHED).persistent(keep_plan))
            .await
            .context("cannot tell what the migration touched")?;
        let mut touched = Self::default();
        for row in rows {
            match row.try_get(0)? {
                "gone" => touched.gone = true,
                "removed" => touched.removed = true,
                "global" => touched.global = true,
                "reported" => {}
                _ => touched
                    .objects
                    .push(u32::try_from(row.try_get::<i64, _>(1)?)?),
            }
        }
        touched.objects.sort_unstable();
        touched.objects.dedup();
        Ok(touched)
    }

    /// Nothing by which anybody could reach more rows than before.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && !self.gone && !self.global
    }

    /// The objects, where nothing else has to be proven.
    pub fn only(&self) -> Option<&[u32]> {
        (!self.gone && !self.global).then_some(&*self.objects)
    }

    /// The objects, where all others are as they were.
    pub fn differing(&self) -> Option<&[u32]> {
        self.only().filter(|_| !self.removed)
    }
}

/// Whether a script may take something away: then the state before it has to be known.
/// One that hides it, in a function, is answered for by proving all. A new type makes
/// constraints anew.
pub fn may_drop(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    sql.contains("drop") || sql.contains("alter") && sql.contains("type") || may_hide(&sql)
}

/// Whether a script may switch off the counters that [`Touched`] rests on.
pub fn may_hide(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("track_counts")
}
