//! The tenants to act for: asked for as configured, or found in the tenant table.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::fault::{Code, Fault};
use crate::verify::config::{Isolation, TenantSource};
use crate::verify::model::{Options, Tenants};

const MOST_LOOKED_AT: usize = 5_000;
const SAMPLE: usize = 6;

/// Asks for the ids; `detected` is the query to use where none is configured.
///
/// # Errors
/// `BadConfig` where the configured query fails.
pub(crate) async fn load(
    conn: &mut PgConnection,
    isolation: &Isolation,
    options: &Options,
    detected: Option<String>,
) -> anyhow::Result<Tenants> {
    let none = Tenants {
        sample: Vec::new(),
        total: 0,
        source: None,
        table: None,
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
                table: None,
            });
        }
        Some(TenantSource::Query(query)) => (query.trim().trim_end_matches(';').to_owned(), true),
        None => match detected {
            Some(query) => (query, false),
            None => return Ok(none),
        },
    };
    let fault = |error: sqlx::Error| {
        let why = error
            .as_database_error()
            .map_or_else(|| error.to_string(), |error| error.message().to_owned());
        Fault::new(Code::BadConfig, format!("the query `tenants` fails: {why}"))
            .hint("it must be one select with one column")
    };
    let count = format!("select count(*) from ({query}\n) as tenants(id) where id is not null");
    let total: i64 = sqlx::query_scalar(AssertSqlSafe(count))
        .persistent(false)
        .fetch_one(&mut *conn)
        .await
        .map_err(fault)
        .context("asking for the tenants")?;
    let limit = if options.exhaustive {
        String::new()
    } else {
        format!(" limit {MOST_LOOKED_AT}")
    };
    let list = format!(
        "select distinct id::text from ({query}\n) as tenants(id) where id is not null order by 1{limit}"
    );
    let ids: Vec<String> = sqlx::query_scalar(AssertSqlSafe(list))
        .persistent(false)
        .fetch_all(&mut *conn)
        .await
        .map_err(fault)
        .context("asking for the tenants")?;
    let source = if told {
        format!("the query `{query}`")
    } else {
        format!("`{query}`, as detected")
    };
    Ok(Tenants {
        sample: if options.exhaustive { ids } else { sample(ids) },
        total: u64::try_from(total).unwrap_or_default(),
        source: Some(source),
        table: None,
    })
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
