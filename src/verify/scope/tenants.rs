//! The tenants to act for: asked for as configured, or found in the tenant table.

use std::collections::HashMap;

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::lexer::{Token, tokens};
use super::raw::Reference;
use crate::db::ident::Ident;
use crate::fault::{Code, Fault};
use crate::verify::config::{Isolation, TenantSource};
use crate::verify::model::{
    Body, Oid, Options, Policy, Relation, RelationKind, TenantKey, Tenants,
};
use crate::verify::session::fill;

const MOST_LOOKED_AT: usize = 5_000;
const SAMPLE: usize = 6;

/// Asks for the ids; `detected` is the query to use where none is configured,
/// `bound` says that row level security binds the verifier.
///
/// # Errors
/// `BadConfig` where the configured query is wrong. Where its rows are hidden from
/// the verifier, that is no error: tenants are made then.
pub(crate) async fn load(
    conn: &mut PgConnection,
    isolation: &Isolation,
    options: &Options,
    detected: Option<String>,
    bound: bool,
) -> anyhow::Result<Tenants> {
    let none = Tenants {
        sample: Vec::new(),
        total: 0,
        source: None,
        table: None,
        unasked: None,
        absent: false,
    };
    let (query, told) = match &isolation.tenants {
        Some(TenantSource::List(ids)) => {
            let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let total = ids.len() as u64;
            if !options.exhaustive {
                ids = sample(ids);
            }
            return Ok(Tenants {
                sample: ids,
                total,
                source: Some("the list in the configuration".to_owned()),
                ..none
            });
        }
        Some(TenantSource::Query(query)) => (query.trim().trim_end_matches(';').to_owned(), true),
        None => match detected {
            Some(query) => (query, false),
            None => return Ok(none),
        },
    };
    let (total, ids) = match ask(conn, &query, options.exhaustive, false).await? {
        Ok(answer) => answer,
        Err(refused) => {
            let Some(why) = hidden(conn, &query, &refused, bound).await? else {
                return Err(Fault::new(
                    Code::BadConfig,
                    format!("the query `tenants` fails: {}", refused.message),
                )
                .hint("it must be one select with one column")
                .into());
            };
            return Ok(Tenants {
                unasked: Some(why),
                ..none
            });
        }
    };
    let source = if told {
        format!("the query `{query}`")
    } else {
        format!("`{query}`, as detected")
    };
    Ok(Tenants {
        sample: if options.exhaustive { ids } else { sample(ids) },
        total: u64::try_from(total).unwrap_or_default(),
        source: Some(source),
        ..none
    })
}

/// Why the server did not answer.
struct Refused {
    state: String,
    message: String,
}

type Answer = Result<(i64, Vec<String>), Refused>;

/// How many tenants there are, and the ids of the first; under a savepoint, so
/// that a query that fails leaves the transaction usable.
async fn ask(
    conn: &mut PgConnection,
    query: &str,
    all: bool,
    unfiltered: bool,
) -> anyhow::Result<Answer> {
    conn.execute("savepoint kinedb_tenants")
        .await
        .context("asking for the tenants")?;
    if unfiltered {
        conn.execute("set local row_security = off").await?;
    }
    let answer = count_and_list(conn, query, all).await;
    conn.execute("rollback to savepoint kinedb_tenants; release savepoint kinedb_tenants")
        .await
        .context("asking for the tenants")?;
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) => match error.as_database_error() {
            Some(refusal) => Ok(Err(Refused {
                state: refusal.code().unwrap_or_default().into_owned(),
                message: refusal.message().to_owned(),
            })),
            // What the client itself cannot read, such as a value of another type.
            None if matches!(error, sqlx::Error::ColumnDecode { .. }) => Ok(Err(Refused {
                state: String::new(),
                message: error.to_string(),
            })),
            None => Err(error).context("asking for the tenants"),
        },
    }
}

async fn count_and_list(
    conn: &mut PgConnection,
    query: &str,
    all: bool,
) -> Result<(i64, Vec<String>), sqlx::Error> {
    let count = format!("select count(*) from ({query}\n) as tenants(id) where id is not null");
    let total = sqlx::query_scalar(AssertSqlSafe(count))
        .persistent(false)
        .fetch_one(&mut *conn)
        .await?;
    let limit = if all {
        String::new()
    } else {
        format!(" limit {MOST_LOOKED_AT}")
    };
    let list = format!(
        "select distinct id::text from ({query}\n) as tenants(id) where id is not null order by 1{limit}"
    );
    let ids = sqlx::query_scalar(AssertSqlSafe(list))
        .persistent(false)
        .fetch_all(&mut *conn)
        .await?;
    Ok((total, ids))
}

/// Why the ids are hidden from the verifier; none where the query itself is wrong.
///
/// A policy that reads the missing context fails like a wrong query does. With
/// `row_security` off the server says which it was: a query that policies would
/// narrow is then refused with 42501, a wrong one fails as before.
async fn hidden(
    conn: &mut PgConnection,
    query: &str,
    refused: &Refused,
    bound: bool,
) -> anyhow::Result<Option<String>> {
    if matches!(refused.state.as_str(), "42501" | "55P03") {
        return Ok(Some(refused.message.clone()));
    }
    if !bound || !matches!(refused.state.as_str(), "22P02" | "42704") {
        return Ok(None);
    }
    let by_policy = ask(conn, query, false, true)
        .await?
        .is_err_and(|again| again.state == "42501");
    Ok(by_policy.then(|| {
        format!(
            "row level security binds it, and a policy fails without a context: {}",
            refused.message
        )
    }))
}

/// A few ids of many, pairs that resemble each other first: equal but for case,
/// long common prefixes, and ids that hold wildcards.
pub(crate) fn sample(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable_by_key(|id| (id.to_lowercase(), id.clone()));
    ids.dedup();
    if ids.len() <= SAMPLE {
        return ids;
    }
    let mut pairs: Vec<(usize, usize)> = ids
        .windows(2)
        .enumerate()
        .map(|(at, pair)| (likeness(&pair[0], &pair[1]), at))
        .collect();
    pairs.sort_unstable_by_key(|(likeness, at)| (std::cmp::Reverse(*likeness), *at));
    let alike = pairs
        .iter()
        .flat_map(|(_, at)| [*at, at + 1])
        .take(SAMPLE - 2);
    let wild = ids.iter().position(|id| id.contains(['%', '_']));
    let mut chosen: Vec<usize> = [0, ids.len() - 1]
        .into_iter()
        .chain(wild)
        .chain(alike)
        .collect();
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|at| seen.insert(*at));
    chosen.truncate(SAMPLE);
    chosen.sort_unstable();
    chosen
        .into_iter()
        .filter_map(|at| ids.get(at).cloned())
        .collect()
}

fn likeness(a: &str, b: &str) -> usize {
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    if a.to_lowercase() == b.to_lowercase() {
        1_000 + common
    } else {
        common
    }
}

/// Of tenants that stand below others, those that nobody stands below come first: what one
/// does must not reach another, which of a tenant and the one above it cannot be said. Told
/// by what the table of tenants declares as a tenant's own rows.
pub(super) async fn lowest_first(
    conn: &mut PgConnection,
    tenants: &mut Tenants,
    table: Option<&Relation>,
) -> anyhow::Result<()> {
    let owns = match table {
        Some(Relation {
            tenant: TenantKey::Owns(owns),
            name,
            ..
        }) if owns.contains(":tenant") && !owns.contains(":user") => (owns, name),
        _ => return Ok(()),
    };
    conn.execute("savepoint kinedb_tenants").await?;
    let mut ranked = Vec::new();
    for id in std::mem::take(&mut tenants.sample) {
        let own = fill(owns.0, &id, None);
        let sql = format!("select count(*) from {} where {own}", owns.1);
        let below: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_one(&mut *conn)
            .await
            .unwrap_or_default();
        ranked.push((below, id));
    }
    conn.execute("rollback to savepoint kinedb_tenants; release savepoint kinedb_tenants")
        .await?;
    ranked.sort_by_key(|(below, _)| *below);
    tenants.sample = ranked.into_iter().map(|(_, id)| id).collect();
    Ok(())
}

/// Whether none of the listed tenants is there yet, as in a database that was just
/// migrated: their table is empty, and the verifier sees all of it. Where it holds
/// others, a list that names none of them may be a mistake.
pub(super) async fn are_absent(
    conn: &mut PgConnection,
    isolation: &Isolation,
    bound: bool,
    table: Option<&Relation>,
) -> anyhow::Result<bool> {
    let (Some(TenantSource::List(_)), Some(table), false) = (&isolation.tenants, table, bound)
    else {
        return Ok(false);
    };
    conn.execute("savepoint kinedb_tenants").await?;
    let sql = format!("select not exists (select from {})", table.name);
    let empty = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_one(&mut *conn)
        .await;
    conn.execute("rollback to savepoint kinedb_tenants; release savepoint kinedb_tenants")
        .await?;
    Ok(empty.unwrap_or_default())
}

/// The query for the tenants where none is told: their table, or whose rows there are.
pub(super) fn query(relations: &[Relation], table: Option<&(Oid, String)>) -> Option<String> {
    if let Some((oid, column)) = table {
        let relation = relations.iter().find(|relation| relation.oid == *oid)?;
        return Some(format!(
            "select {}::text from {}",
            Ident::new(column),
            relation.name
        ));
    }
    let (name, column) = relations
        .iter()
        .filter(|relation| relation.estimate != 0.0)
        .filter_map(|relation| match &relation.tenant {
            TenantKey::Column { column, .. } if relation.kind == RelationKind::Table => {
                Some((relation, column))
            }
            _ => None,
        })
        .min_by(|(a, _), (b, _)| a.estimate.total_cmp(&b.estimate))
        .map(|(relation, column)| (&relation.name, column))?;
    Some(format!("select distinct {column}::text from {name}"))
}

/// The table of tenants, its key, and the column by which they stand below one another,
/// where policies go that way: they, or their functions, speak of it or of a path.
pub(super) fn above<'r>(
    relations: &'r [Relation],
    references: &[Reference],
    policies: &[Policy],
    bodies: &HashMap<Oid, Body>,
    table: Option<&(Oid, String)>,
) -> Option<(&'r Relation, Ident, &'r Ident)> {
    let (oid, key) = table?;
    let registry = relations.iter().find(|relation| relation.oid == *oid)?;
    let number = |column: &str| {
        let mut all = registry.columns.iter();
        all.find(|own| own.name.as_str() == column)
            .map(|own| own.number)
    };
    let keyed = number(key)?;
    let itself = references
        .iter()
        .find(|one| one.child == *oid && one.parent == *oid && one.targets == [keyed])?;
    let [number] = itself.columns[..] else {
        return None;
    };
    let mut columns = registry.columns.iter();
    let above = &columns.find(|column| column.number == number)?.name;
    let path = |name: &str| {
        let mut all = registry.columns.iter();
        all.any(|own| own.name.as_str() == name && own.type_name.ends_with("ltree"))
    };
    let speaks = |text: &str| {
        tokens(text)
            .iter()
            .filter_map(Token::name)
            .any(|name| name == above.as_str() || path(name))
    };
    let goes = policies.iter().flat_map(Policy::predicates).any(|one| {
        let called = one.functions.iter().filter_map(|oid| bodies.get(oid));
        speaks(&one.text) || called.map(|body| &body.text).any(|text| speaks(text))
    });
    goes.then(|| (registry, Ident::new(key), above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_resemble_each_other_come_first() {
        let mut ids: Vec<String> = (0..100).map(|n| format!("{}", n * 7919 % 1000)).collect();
        ids.extend(["Acme".to_owned(), "acme".to_owned(), "a%".to_owned()]);
        let sample = sample(ids);
        assert_eq!(sample.len(), SAMPLE);
        for id in ["Acme", "acme", "a%"] {
            assert!(sample.iter().any(|own| own == id), "{id} in {sample:?}");
        }
    }
}
