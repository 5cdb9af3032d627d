//! Loading: one transaction per clinic, one statement per table.

use std::collections::HashSet;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::fixture::{self, Clinic, Row, Source};
use crate::fault::{Code, Fault};

/// What is happening, for a progress line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedEvent {
    /// A clinic begins.
    Clinic {
        /// Its slug.
        slug: String,
        /// Its name.
        name: String,
        /// Its place in the order, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// One table of it is written, not yet committed.
    Table {
        /// Slug of the clinic.
        slug: String,
        /// The table.
        table: &'static str,
        /// Rows that were new.
        loaded: usize,
        /// Rows that were there already.
        present: usize,
    },
}

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeedSummary {
    /// The clinics, in the order of their files.
    pub clinics: Vec<ClinicSummary>,
}

impl SeedSummary {
    /// Rows that were new, in all clinics.
    pub fn loaded(&self) -> usize {
        self.clinics.iter().map(ClinicSummary::loaded).sum()
    }

    /// Rows that were there already.
    pub fn present(&self) -> usize {
        self.clinics.iter().map(ClinicSummary::present).sum()
    }
}

/// What a load did for one clinic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClinicSummary {
    /// Its slug.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Its id, the same on every machine.
    pub tenant: Uuid,
    /// One line per table, parents first.
    pub tables: Vec<TableSummary>,
}

impl ClinicSummary {
    /// Rows that were new.
    pub fn loaded(&self) -> usize {
        self.tables.iter().map(|table| table.loaded).sum()
    }

    /// Rows that were there already.
    pub fn present(&self) -> usize {
        self.tables.iter().map(|table| table.present).sum()
    }
}

/// What a load did for one table of one clinic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    /// The table.
    pub table: &'static str,
    /// Rows that were new.
    pub loaded: usize,
    /// Rows that were there already.
    pub present: usize,
}

/// Loads the clinics of these files, each in one transaction of its own. All files
/// are read before the first row is written.
///
/// # Errors
/// As [`load_dev`](super::load_dev).
pub async fn load(
    conn: &mut PgConnection,
    sources: &[Source],
    progress: &mut dyn FnMut(SeedEvent),
) -> anyhow::Result<SeedSummary> {
    let clinics = sources
        .iter()
        .map(fixture::parse)
        .collect::<Result<Vec<Clinic>, Fault>>()?;
    let mut summary = SeedSummary::default();
    for (index, clinic) in clinics.iter().enumerate() {
        progress(SeedEvent::Clinic {
            slug: clinic.slug.clone(),
            name: clinic.name.clone(),
            number: index + 1,
            of: clinics.len(),
        });
        let tables = load_clinic(conn, clinic, progress)
            .await
            .with_context(|| format!("loading the clinic `{}`", clinic.slug))?;
        summary.clinics.push(ClinicSummary {
            slug: clinic.slug.clone(),
            name: clinic.name.clone(),
            tenant: clinic.tenant,
            tables,
        });
    }
    Ok(summary)
}

async fn load_clinic(
    conn: &mut PgConnection,
    clinic: &Clinic,
    progress: &mut dyn FnMut(SeedEvent),
) -> anyhow::Result<Vec<TableSummary>> {
    let failure = match write(conn, clinic, Batch::Table).await {
        Ok(tables) => {
            for done in &tables {
                progress(SeedEvent::Table {
                    slug: clinic.slug.clone(),
                    table: done.table,
                    loaded: done.loaded,
                    present: done.present,
                });
            }
            return Ok(tables);
        }
        Err(failure) => failure,
    };
    if !failure.is_about_a_row() {
        return Err(failure.explain(clinic));
    }
    // The server names the constraint, not the row. Rows one by one find it: whatever
    // happens in there is rolled back too, so nothing of the clinic stays.
    match write(conn, clinic, Batch::Row).await {
        Err(precise) => Err(precise.explain(clinic)),
        Ok(_) => Err(failure.explain(clinic)),
    }
}

/// How many rows go into one statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// A whole table; commits at the end.
    Table,
    /// One; never commits.
    Row,
}

/// Why a clinic did not load, and at which table and row as far as is known.
struct Failure {
    table: Option<&'static str>,
    row: Option<(String, usize)>,
    error: sqlx::Error,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self {
            table: None,
            row: None,
            error,
        }
    }
}

impl Failure {
    /// Integrity and data errors (classes 22 and 23) are a fixture's fault.
    fn is_about_a_row(&self) -> bool {
        self.table.is_some()
            && self.sqlstate().is_some_and(|state| {
                state.starts_with("22") || state.starts_with("23") || state == "42501"
            })
    }

    fn sqlstate(&self) -> Option<String> {
        let code = self.error.as_database_error()?.code()?;
        Some(code.into_owned())
    }

    fn explain(self, clinic: &Clinic) -> anyhow::Error {
        let Some(database) = self.error.as_database_error() else {
            return self.error.into();
        };
        let message = database.message().to_owned();
        let state = self.sqlstate().unwrap_or_default();
        let fault = match (state.as_str(), self.table) {
            // Row security says so with the same state as a missing grant.
            ("42501", _) if !message.contains("row-level security") => {
                Fault::new(Code::Privilege, message)
                    .hint("a login that is a member of `kine_owner` and `kine_app` loads fixtures")
            }
            ("42P01" | "42703" | "3F000" | "22023" | "42704", _) => Fault::new(
                Code::Pending,
                format!("the schema is not the one that the fixtures are for: {message}"),
            )
            .hint("kinedb upgrade"),
            (_, Some(table)) => {
                let place = match &self.row {
                    Some((key, line)) => {
                        format!("`{}` line {line}: row `{key}` of `{table}`", clinic.path)
                    }
                    None => format!("`{}`: a row of `{table}`", clinic.path),
                };
                let rule = match database.constraint() {
                    Some(constraint) => format!("breaks `{constraint}`: {message}"),
                    None => format!("was refused: {message}"),
                };
                Fault::new(Code::BadFixture, format!("{place} {rule}"))
            }
            (_, None) => return self.error.into(),
        };
        fault.into()
    }
}

async fn write(
    conn: &mut PgConnection,
    clinic: &Clinic,
    batch: Batch,
) -> Result<Vec<TableSummary>, Failure> {
    let mut tx = conn.begin().await?;
    sqlx::query(include_str!("sql/context.sql"))
        .bind(clinic.tenant.to_string())
        .execute(&mut *tx)
        .await?;

    let mut tables = Vec::new();
    let mut new_notes = HashSet::new();
    let steps: [(&'static str, &'static str, &[Row]); 6] = [
        ("tenants", include_str!("sql/tenants.sql"), &clinic.tenants),
        ("users", include_str!("sql/users.sql"), &clinic.users),
        (
            "patients",
            include_str!("sql/patients.sql"),
            &clinic.patients,
        ),
        (
            "appointments",
            include_str!("sql/appointments.sql"),
            &clinic.appointments,
        ),
        (
            "encounters",
            include_str!("sql/encounters.sql"),
            &clinic.encounters,
        ),
        ("notes", include_str!("sql/notes.sql"), &clinic.notes),
    ];
    for (table, sql, rows) in steps {
        if table == "users" {
            // From here on everything is what the application could have written itself.
            sqlx::query("select pg_catalog.set_config('role', 'kine_app', true)")
                .execute(&mut *tx)
                .await?;
        }
        let written = run(&mut tx, clinic.tenant, table, sql, rows.iter(), batch).await?;
        tables.push(TableSummary {
            table,
            loaded: written.len(),
            present: rows.len() - written.len(),
        });
        if table == "notes" {
            new_notes.extend(written);
        }
    }
    // A note that was there keeps what was done to it since.
    let amended = clinic
        .amendments
        .iter()
        .filter(|row| new_notes.contains(&row.id));
    run(
        &mut tx,
        clinic.tenant,
        "notes",
        include_str!("sql/amendments.sql"),
        amended,
        batch,
    )
    .await?;

    match batch {
        Batch::Table => tx.commit().await?,
        Batch::Row => tx.rollback().await?,
    }
    Ok(tables)
}

/// Sends rows to one statement and returns the ids that it wrote.
async fn run<'r>(
    conn: &mut PgConnection,
    tenant: Uuid,
    table: &'static str,
    sql: &'static str,
    rows: impl Iterator<Item = &'r Row>,
    batch: Batch,
) -> Result<Vec<Uuid>, Failure> {
    let rows: Vec<&Row> = rows.collect();
    let size = match batch {
        Batch::Table => rows.len().max(1),
        Batch::Row => 1,
    };
    let mut written = Vec::with_capacity(rows.len());
    for part in rows.chunks(size) {
        let values: Vec<_> = part.iter().map(|row| &row.values).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar(sql)
            .bind(tenant)
            .bind(sqlx::types::Json(values))
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| Failure {
                table: Some(table),
                row: part
                    .first()
                    .filter(|_| batch == Batch::Row)
                    .map(|row| (row.key.clone(), row.line)),
                error,
            })?;
        written.extend(ids);
    }
    Ok(written)
}
