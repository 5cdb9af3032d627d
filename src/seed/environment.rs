//! What a database is for: a marker inside the database itself.
//!
//! A database without a marker is for anything but development: nothing that
//! invents or destroys data may assume otherwise.

use std::fmt;

use anyhow::Context as _;
use sqlx::PgConnection;

use crate::fault::{Code, Fault};

/// What a database says it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Environment {
    /// A laptop or a throw-away database: invented data only.
    Development,
    /// Something between: real schema, perhaps copies of real data.
    Staging,
    /// Clinics work with it.
    Production,
}

impl Environment {
    /// The word in the marker.
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Environment {
    type Err = Fault;

    fn from_str(word: &str) -> Result<Self, Fault> {
        match word {
            "development" => Ok(Self::Development),
            "staging" => Ok(Self::Staging),
            "production" => Ok(Self::Production),
            _ => Err(Fault::new(
                Code::Usage,
                format!("`{word}` is no environment: `development`, `staging` or `production`"),
            )
            .hint("kinedb stamp --environment development")),
        }
    }
}

/// Reads the marker; `None` if the database has none. Changes nothing.
///
/// # Errors
/// `privilege` if the login may not read the marker; a lost connection.
pub async fn environment(conn: &mut PgConnection) -> anyhow::Result<Option<Environment>> {
    let there: bool = sqlx::query_scalar(
        "select pg_catalog.to_regclass('public.kinedb_environment') is not null",
    )
    .fetch_one(&mut *conn)
    .await
    .context("looking for the environment marker")?;
    if !there {
        return Ok(None);
    }
    let word: Option<String> =
        sqlx::query_scalar("select e.environment from public.kinedb_environment e")
            .fetch_optional(&mut *conn)
            .await
            .context("reading the environment marker `kinedb_environment`")?;
    Ok(match word {
        Some(word) => Some(word.parse::<Environment>()?),
        None => None,
    })
}

/// Marks the database as one for development, making the marker's table if it is
/// missing. Says nothing about whether that is right: the caller has asked.
///
/// # Errors
/// `not-development` if the database is marked as something else; `privilege`.
pub async fn mark_development(conn: &mut PgConnection) -> anyhow::Result<()> {
    mark(conn, Environment::Development).await
}

/// Marks the database, making the marker's table if it is missing.
///
/// # Errors
/// `not-development` if the database is marked as something else; `privilege`.
pub async fn mark(conn: &mut PgConnection, wanted: Environment) -> anyhow::Result<()> {
    if let Some(found) = environment(conn).await? {
        if found == wanted {
            return Ok(());
        }
        return Err(Fault::new(
            Code::NotDevelopment,
            format!("the database is marked as `{found}`, not as `{wanted}`"),
        )
        .hint("see which database that is with `kinedb status`; a mark is never changed")
        .into());
    }
    sqlx::raw_sql(include_str!("sql/environment.sql"))
        .execute(&mut *conn)
        .await
        .context("making the environment marker `kinedb_environment`")?;
    let marked: String = sqlx::query_scalar(
        "insert into public.kinedb_environment as e (environment) values ($1) \
         on conflict (singleton) do update set environment = e.environment returning e.environment",
    )
    .bind(wanted.name())
    .fetch_one(&mut *conn)
    .await
    .context("writing the environment marker")?;
    if marked == wanted.name() {
        Ok(())
    } else {
        Err(Fault::new(
            Code::NotDevelopment,
            format!("the database was marked as `{marked}` by another session"),
        )
        .hint("see which database that is with `kinedb status`; a mark is never changed")
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for environment in [
            Environment::Development,
            Environment::Staging,
            Environment::Production,
        ] {
            assert_eq!(
                environment.name().parse::<Environment>().unwrap(),
                environment
            );
        }
        assert!("Development".parse::<Environment>().is_err());
    }
}
