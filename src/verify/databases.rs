//! The other databases of the server: copies that the application can read.
//!
//! Looks only where the caller told how to connect, and only for tables of the
//! same name that a role of the application may read without row level security.

use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};

use super::explain;
use super::finding::{Action, Finding, Outcome, Severity, Verdict};
use super::model::Scope;
use crate::db::ident::Ident;

const MOST: usize = 20;

/// Looks into each database that an acting role can connect to.
///
/// # Errors
/// Only where the connection is lost.
pub(crate) async fn run(
    conn: &mut PgConnection,
    scope: &Scope,
    connect: &PgConnectOptions,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let roles: Vec<String> = scope
        .roles
        .iter()
        .map(|role| role.name.as_str().to_owned())
        .collect();
    let names: Vec<String> = scope
        .relations
        .iter()
        .filter(|relation| relation.holds_tenants())
        .map(|relation| relation.name.name.as_str().to_owned())
        .collect();
    let databases: Vec<String> = sqlx::query_scalar(include_str!("databases.sql"))
        .bind(&roles)
        .persistent(false)
        .fetch_all(&mut *conn)
        .await?;
    if databases.len() > MOST {
        outcome.residual.push(format!("the application can connect to {} other databases of the server, too many to look into each", databases.len()));
        return Ok(outcome);
    }
    let mut unseen = Vec::new();
    for database in databases {
        match look(connect, &database, &roles, &names).await {
            Ok(copies) => outcome.findings.extend(
                copies
                    .into_iter()
                    .filter_map(|(table, role)| finding(&database, &table, &role)),
            ),
            Err(_) => unseen.push(format!("`{database}`")),
        }
    }
    if !unseen.is_empty() {
        outcome.residual.push(format!("the application can connect to other databases of the server that the verifier could not look into: {}", unseen.join(", ")));
    }
    Ok(outcome)
}

async fn look(
    connect: &PgConnectOptions,
    database: &str,
    roles: &[String],
    names: &[String],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let mut other = connect.clone().database(database).connect().await?;
    let found = sqlx::query_as(include_str!("databases_copies.sql"))
        .bind(roles)
        .bind(names)
        .persistent(false)
        .fetch_all(&mut other)
        .await;
    sqlx::Connection::close(other).await?;
    found
}

fn finding(database: &str, table: &str, role: &str) -> Option<Finding> {
    let entry = explain::explain("other-database")?;
    Some(Finding {
        id: entry.id.to_owned(),
        severity: Severity::Error,
        verdict: Verdict::Leak,
        object: database.to_owned(),
        role: Some(role.to_owned()),
        action: Some(Action::Select),
        title: entry.title,
        detail: format!(
            "`{role}` may connect to `{database}` and read `{table}` there, which has rows and no row level security"
        ),
        fix: format!(
            "revoke connect on database {} from public;",
            Ident::new(database)
        ),
        reproduce: Some(format!(
            "\\c {}\nset role {}; select count(*) from {table};",
            Ident::new(database),
            Ident::new(role)
        )),
    })
}
