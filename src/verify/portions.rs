//! A database of very many tables is probed in portions, each in a session and a
//! transaction of its own.
//!
//! Whatever a transaction touches it holds a lock on until its end, and the server has
//! room for so many locks and no more: one that took them all would keep the
//! application from its work. A portion is looked at as the gate looks at what a
//! migration touched: with all that stands over its tables, and with all that what is
//! done to them can reach.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::details::Details;
use super::finding::Outcome;
use super::model::{Depth, Oid, Options, Relation, RelationKind, Scope, TenantKey};
use super::{probes, world};

/// Locks that a probed table takes, with its indexes and its sequence.
const LOCKS: usize = 6;

/// How to connect for each portion, where the database is to be looked at in portions.
pub(super) fn wanted<'a>(scope: &Scope, options: &'a Options) -> Option<&'a PgConnectOptions> {
    let whole = options.depth == Depth::Full && !options.in_transaction && options.only.is_none();
    let many = scope.relations.len() > options.at_once;
    options.connect.as_ref().filter(|_| whole && many)
}

/// Probes, algebra and truth, portion by portion.
///
/// # Errors
/// When a connection fails; a probe that fails is a finding.
pub(super) async fn prove(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    connect: &PgConnectOptions,
) -> anyhow::Result<Outcome> {
    world::open(conn, options).await?;
    let details = Details::read(conn, scope, options).await;
    world::close(conn, options).await?;
    let details = details?;
    let size = options.at_once.min(room(conn).await? / LOCKS);
    let mut outcome = Outcome::default();
    for portion in portions(scope, &details, size.max(1)) {
        // What a session was told once it cannot forget, so each begins anew.
        let connect = super::again(connect, "kinedb verify-rls portion");
        let mut fresh = PgConnection::connect_with(&connect)
            .await
            .context("connecting for a portion of the database")?;
        let details = Arc::clone(&details);
        let seen = probes::prove_portion(&mut fresh, scope, options, details, portion).await?;
        outcome.merge(seen);
        // It is rolled back; a failure to say goodbye changes nothing.
        let _ = fresh.close().await;
    }
    once(&mut outcome.findings);
    once(&mut outcome.evidence);
    once(&mut outcome.residual);
    once(&mut outcome.basis);
    Ok(outcome)
}

/// How many locks a portion may hold: a quarter of those that the server has room for.
async fn room(conn: &mut PgConnection) -> anyhow::Result<usize> {
    let text = "select current_setting('max_locks_per_transaction')::bigint \
                * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) / 4";
    let row = sqlx::query(text)
        .persistent(false)
        .fetch_one(conn)
        .await
        .context("asking how many locks the server has room for")?;
    Ok(usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX))
}

/// The objects of each portion: tables in the order they were made, because those that
/// belong together were made together, and what none of them leads to with the first.
fn portions(scope: &Scope, details: &Details, size: usize) -> Vec<Vec<Oid>> {
    let over: HashSet<Oid> = details.uses.iter().map(|(view, _)| *view).collect();
    let (mut tables, mut everywhere, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for relation in &scope.relations {
        match relation.kind {
            // A copy of tenants' rows may lie in any table that belongs to nobody.
            _ if relation.tenant == TenantKey::Global => everywhere.push(relation.oid),
            RelationKind::Table | RelationKind::PartitionedTable => tables.push(relation),
            _ if over.contains(&relation.oid) => {}
            _ => first.push(relation.oid),
        }
    }
    for function in &scope.functions {
        let body = &function.body;
        if body.dynamic || body.opaque {
            everywhere.push(function.oid);
        } else if body.reads.is_empty() && body.writes.is_empty() {
            first.push(function.oid);
        }
        // What a trigger writes is looked at wherever one may stir it.
        if function.trigger {
            everywhere.extend(&body.writes);
        }
    }
    let mut portions = vec![first];
    for family in families(scope, &tables) {
        match portions.last_mut() {
            Some(portion) if portion.len() < size => portion.extend(family),
            _ => portions.push(family),
        }
    }
    for portion in &mut portions {
        portion.extend(&everywhere);
    }
    portions
}

/// Tables with their partitions and children, which are looked at together.
fn families(scope: &Scope, tables: &[&Relation]) -> impl Iterator<Item = Vec<Oid>> {
    let mut families: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for table in tables {
        let mut top = *table;
        while let Some(parent) = top.parents.first().and_then(|oid| scope.relation(*oid)) {
            top = parent;
        }
        families.entry(top.oid).or_default().push(table.oid);
    }
    families.into_values()
}

/// Leaves one of what several portions say alike, for some objects are looked at in each.
fn once<T: Eq + Hash>(list: &mut Vec<T>) {
    let mut seen = HashSet::new();
    let first: Vec<bool> = list.iter().map(|one| seen.insert(one)).collect();
    let mut first = first.into_iter();
    list.retain(|_| first.next().unwrap_or(true));
}
