//! What the checks of the catalogue must see where a few relations were touched.
//!
//! A check joins what it looks at with the relations and policies of the scope: one
//! that is handed fewer of them finds less. So everything stays that a finding about
//! a touched relation, or one that a touched relation brings about elsewhere, is made
//! of. Where that cannot be told, everything stays.

use std::collections::HashSet;

use anyhow::Context as _;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid as PgOid;

use super::model::{Oid, Options, Policy, RelationKind, Scope, TenantKey};

/// The relations that checks have to see; none where that is all of them.
///
/// # Errors
/// Only where the connection is lost, or its transaction has failed.
pub(crate) async fn relations(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Option<HashSet<Oid>>> {
    let Some(touched) = &options.only else {
        return Ok(None);
    };
    // What is gone, a function, a sequence: its way to a finding is not known here.
    let known = |oid: &Oid| scope.relations.iter().any(|relation| relation.oid == *oid);
    if !touched.iter().all(known) {
        return Ok(None);
    }
    let mut start: HashSet<Oid> = touched.iter().copied().collect();
    start.extend(readers(scope, &start));
    let start: Vec<PgOid> = start.into_iter().map(PgOid).collect();
    let near: Vec<PgOid> = sqlx::query_scalar(include_str!("near.sql"))
        .bind(start)
        .persistent(options.keep_plans)
        .fetch_all(conn)
        .await
        .context("asking what stands near what was touched")?;
    let mut near: HashSet<Oid> = near.into_iter().map(|oid| oid.0).collect();
    near.extend(needed(scope, &near));
    // A table that nothing speaks for is compared with the names of all tables of tenants.
    let unknown = scope.relations.iter().any(|relation| {
        near.contains(&relation.oid)
            && relation.kind != RelationKind::View
            && relation.tenant == TenantKey::Unknown
    });
    Ok((!unknown).then_some(near))
}

/// Relations with a policy that reads one of these, itself or through what it calls.
fn readers(scope: &Scope, touched: &HashSet<Oid>) -> Vec<Oid> {
    let reads = |policy: &&Policy| {
        policy
            .predicates()
            .flat_map(|predicate| &predicate.reads)
            .any(|oid| touched.contains(oid))
    };
    scope
        .policies
        .iter()
        .filter(reads)
        .map(|policy| policy.relation)
        .collect()
}

/// What policies of these relations read, what functions that could be their triggers,
/// or that touch them, read and write, and the tenants.
fn needed(scope: &Scope, near: &HashSet<Oid>) -> Vec<Oid> {
    let read = scope
        .policies
        .iter()
        .filter(|policy| near.contains(&policy.relation))
        .flat_map(Policy::predicates)
        .flat_map(|predicate| &predicate.reads);
    let moved = scope
        .functions
        .iter()
        .map(|function| (function.trigger, &function.body))
        .filter(|(trigger, body)| {
            let mut uses = body.reads.iter().chain(&body.writes);
            *trigger || uses.any(|oid| near.contains(oid))
        })
        .flat_map(|(_, body)| body.reads.iter().chain(&body.writes));
    let tenants = scope.tenants.table.as_ref().map(|(oid, _)| oid);
    read.chain(moved).chain(tenants).copied().collect()
}
