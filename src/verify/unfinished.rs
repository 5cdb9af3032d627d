//! A configuration that is ahead of the schema.
//!
//! In the middle of an upgrade the configuration of head meets a schema that is
//! not there yet. What it says of names that do not exist is left out; outside of
//! the gate a name that does not exist is an error.

use std::collections::HashSet;

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::config::{Config, Role, TenantSource};

/// The configuration without the tables, columns and roles that the database does
/// not have. Must be called inside a transaction.
///
/// # Errors
/// Whatever the connection says where it is lost.
pub async fn without_missing(conn: &mut PgConnection, config: &Config) -> anyhow::Result<Config> {
    let mut config = config.clone();
    let isolation = &mut config.isolation;
    let tables = isolation
        .table
        .keys()
        .chain(&isolation.append_only.tables)
        .cloned();
    let sensitive = isolation
        .sensitive
        .columns
        .iter()
        .chain(isolation.role.iter().flat_map(|role| &role.columns));
    let names: Vec<String> = tables
        .chain(sensitive.filter_map(|column| table_of(column)))
        .collect();
    let (existing, schemas, roles) = existing(conn, &names).await?;
    isolation.table.retain(|name, _| existing.contains(name));
    isolation
        .append_only
        .tables
        .retain(|name| existing.contains(name));
    let known = |column: &String| table_of(column).is_some_and(|table| existing.contains(&table));
    isolation.sensitive.columns.retain(known);
    for role in &mut isolation.role {
        role.columns.retain(known);
    }
    isolation.schemas.retain(|schema| schemas.contains(schema));
    let there = |name: &Option<String>| name.as_ref().is_none_or(|name| roles.contains(name));
    isolation
        .role
        .retain(|role: &Role| there(&role.name) && there(&role.login));
    if let Some(TenantSource::Query(query)) = &isolation.tenants
        && !runs(conn, query.trim().trim_end_matches(';')).await?
    {
        isolation.tenants = Some(TenantSource::List(Vec::new()));
    }
    let mut queries = Vec::with_capacity(isolation.role.len());
    for role in &isolation.role {
        // The user of a tenant is asked for with the tenant's id in place; null stands for any.
        queries.push(match &role.user {
            Some(query) => runs(conn, &query.replace(":tenant", "null")).await?,
            None => true,
        });
    }
    for (role, runs) in isolation.role.iter_mut().zip(queries) {
        if !runs {
            role.user = None;
        }
    }
    Ok(config)
}

/// `schema.table` of `schema.table.column`.
fn table_of(column: &str) -> Option<String> {
    super::scope::split_column(column).map(|(table, _)| table)
}

/// The relations among `names` that exist, all schemas, all roles.
type Existing = (HashSet<String>, Vec<String>, Vec<String>);

async fn existing(conn: &mut PgConnection, names: &[String]) -> anyhow::Result<Existing> {
    if let Some((there, schemas, roles)) = ask(conn, names).await? {
        let pairs = names.iter().zip(there);
        let found = pairs.filter(|(_, there)| *there).map(|(name, _)| name);
        return Ok((found.cloned().collect(), schemas, roles));
    }
    // One of the names is none that SQL can read: that is for the scope to refuse, in
    // its own words.
    let mut found = HashSet::new();
    for name in names {
        let there = ask(conn, std::slice::from_ref(name)).await?;
        if there.is_none_or(|(there, ..)| there.contains(&true)) {
            found.insert(name.clone());
        }
    }
    let rest = ask(conn, &[]).await?;
    let (_, schemas, roles) = rest.context("looking for names of the configuration")?;
    Ok((found, schemas, roles))
}

type Answer = (Vec<bool>, Vec<String>, Vec<String>);

/// The answer, or nothing where the question fails.
async fn ask(conn: &mut PgConnection, names: &[String]) -> anyhow::Result<Option<Answer>> {
    conn.execute("savepoint kinedb_ask")
        .await
        .context("looking for names of the configuration")?;
    let answer = sqlx::query_as(include_str!("unfinished.sql"))
        .bind(names)
        .persistent(false)
        .fetch_one(&mut *conn)
        .await
        .ok();
    conn.execute("rollback to savepoint kinedb_ask; release savepoint kinedb_ask")
        .await?;
    Ok(answer)
}

/// What a query fails with that names what is not there (yet): schema, table,
/// column, function, type, parameter.
const UNDEFINED: [&str; 5] = ["3F000", "42P01", "42703", "42883", "42704"];

/// The query names nothing that is missing in the schema as it is now. One that
/// fails for another reason, as by a policy without a context, is kept: the scope
/// says of it what is to be said.
async fn runs(conn: &mut PgConnection, query: &str) -> anyhow::Result<bool> {
    const BACK: &str = "rollback to savepoint kinedb_ask; release savepoint kinedb_ask";
    let tried = conn
        .execute(AssertSqlSafe(format!(
            "savepoint kinedb_ask; select from ({query}\n) as tried limit 0; {BACK}"
        )))
        .await;
    let Err(error) = tried else {
        return Ok(true);
    };
    conn.execute(BACK)
        .await
        .context("trying a query of the configuration")?;
    let missing = error
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()))
        .is_some_and(|code| UNDEFINED.contains(&code.as_str()));
    Ok(!missing)
}
