//! A database's schema and security as ordered lines that can be compared.
//!
//! Read from the catalogue with PostgreSQL's own deparsers. What belongs to
//! kinedb itself (its history) is left out.

use std::collections::BTreeMap;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

const FINGERPRINT: &str = include_str!("fingerprint.sql");

/// Object and attribute, for example `table public.notes` and `force row security`.
pub type Key = (String, String);

/// The description of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(pub BTreeMap<Key, String>);

/// One line in which two databases differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What it is about.
    pub object: String,
    /// Which property of it.
    pub attribute: String,
    /// On the left side; nothing where the property is missing there.
    pub left: Option<String>,
    /// On the right side.
    pub right: Option<String>,
}

/// Reads the catalogue. Names are deparsed qualified, whatever the search path.
pub async fn read(conn: &mut PgConnection) -> anyhow::Result<Fingerprint> {
    let open =
        "begin isolation level repeatable read read only; set local search_path = pg_catalog";
    (&mut *conn)
        .execute(sqlx::raw_sql(open))
        .await
        .context("cannot look at the catalogue")?;
    let rows = (&mut *conn).fetch_all(sqlx::raw_sql(FINGERPRINT)).await;
    (&mut *conn)
        .execute(sqlx::raw_sql("rollback"))
        .await
        .context("cannot look at the catalogue")?;
    let mut lines = BTreeMap::new();
    for row in rows.context("cannot read the catalogue")? {
        lines.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
    }
    Ok(Fingerprint(lines))
}

impl Fingerprint {
    /// Every line in which the two differ, in order.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut keys: Vec<&Key> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .filter_map(|key| {
                let (left, right) = (self.0.get(key), other.0.get(key));
                (left != right).then(|| Difference {
                    object: key.0.clone(),
                    attribute: key.1.clone(),
                    left: left.cloned(),
                    right: right.cloned(),
                })
            })
            .collect()
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            object,
            attribute,
            left,
            right,
        } = self;
        match (left, right) {
            (Some(left), Some(right)) => {
                write!(f, "{object}: {attribute}: `{left}` became `{right}`")
            }
            (None, Some(right)) => write!(f, "{object}: {attribute}: added `{right}`"),
            (Some(left), None) => write!(f, "{object}: {attribute}: removed `{left}`"),
            (None, None) => write!(f, "{object}: {attribute}"),
        }
    }
}
