//! What the open transaction has changed of what decides who reaches which rows.
//!
//! Told by the versions of the catalogue's rows and by the server's counters of this
//! transaction, so that the price follows the migration, not the size of the database.
//! What is gone has no row any more: of that it tells only that there is something.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

use crate::migrate::lex;

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
/// constraints anew. `drop policy if exists` on a table that the script makes itself, and
/// `drop view if exists` before the view of such a script, are there so that it can be
/// read twice: they take nothing away, and if one does, all is proven.
pub fn may_drop(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    lower.matches("drop").count() != idle_drops(&lower)
        || lower.contains("alter") && lower.contains("type")
        || may_hide(&lower)
}

/// How many of a script's `drop … if exists` find nothing, going by what it makes.
fn idle_drops(lower: &str) -> usize {
    if !lower.contains("drop") {
        return 0;
    }
    let statements: Vec<Vec<&str>> = lex::statements(lower)
        .into_iter()
        .map(|range| {
            let tokens = lex::tokens(&lower[range]);
            tokens.into_iter().map(|(word, _)| word).collect()
        })
        .collect();
    let made: Vec<String> = statements
        .iter()
        .filter_map(|words| match &**words {
            ["create", "table", "if", ..] => None,
            ["create", "table" | "view", name @ ..] => Some(named(name)),
            _ => None,
        })
        .collect();
    let tables = statements
        .iter()
        .any(|words| words.starts_with(&["create", "table"]));
    let idle = |words: &&Vec<&str>| match &***words {
        [
            "drop",
            "policy" | "trigger",
            "if",
            "exists",
            _,
            "on",
            name @ ..,
        ] => made.contains(&named(name)),
        ["drop", "view", "if", "exists", name @ ..] => tables && made.contains(&named(name)),
        _ => false,
    };
    statements.iter().filter(idle).count()
}

/// The name that these words begin with, as it is written.
fn named(words: &[&str]) -> String {
    let mut end = 1.min(words.len());
    while words.get(end) == Some(&".") {
        end = (end + 2).min(words.len());
    }
    words[..end].concat()
}

/// Whether a script may switch off the counters that [`Touched`] rests on.
pub fn may_hide(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("track_counts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_makes_itself_it_does_not_drop() {
        let own = "create table public.a (id int);\ndrop policy if exists p on public.a;\n\
             create policy p on public.a using (true);\n\
             drop view if exists public.api_a;\ncreate view public.api_a as select id from public.a;";
        assert!(!may_drop(own));
        assert!(!may_drop(
            "create table \"A b\" (id int); drop trigger if exists t on \"A b\""
        ));
        for other in [
            "drop policy if exists p on public.a",
            "create table b (id int); drop policy if exists p on public.a",
            "create table a (id int); drop policy p on a",
            "create table if not exists a (id int); drop policy if exists p on a",
            "create table a (id int); drop view if exists v cascade; drop table b; create view v as select 1",
            "create table a (id int); drop view if exists v",
            "drop view if exists v; create view v as select 1",
            "create table a (id int); do $$ begin execute 'drop table b'; end $$",
            "create table a (id int); alter table a drop column id",
            "create table a (id int); alter table b drop column id; drop policy if exists p on a",
        ] {
            assert!(may_drop(other), "{other}");
        }
    }
}
