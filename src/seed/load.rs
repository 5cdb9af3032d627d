//! Loading: one transaction per clinic, one statement per table.

use std::collections::HashSet;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection, SqlSafeStr as _};
use uuid::Uuid;

use super::fixture::{self, Clinic, Row, Source};
use super::tables;
use crate::db::ident::Ident;
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
        table: String,
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
    pub table: String,
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
    let (of_tables, of_clinics): (Vec<&Source>, Vec<&Source>) = sources
        .iter()
        .partition(|source| tables::table_of(source).is_some());
    let mut clinics = of_clinics
        .into_iter()
        .map(fixture::parse)
        .collect::<Result<Vec<Clinic>, Fault>>()?;
    tables::add(&mut clinics, &of_tables)?;
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
                    table: done.table.clone(),
                    loaded: done.loaded,
                    present: done.present,
                });
            }
            return Ok(tables);
        }
        Err(failure) => failure,
    };
    if !failure.is_about_a_row() {
        return Err(failure.explain());
    }
    // The server names the constraint, not the row. Rows one by one find it: whatever
    // happens in there is rolled back too, so nothing of the clinic stays.
    match write(conn, clinic, Batch::Row).await {
        Err(precise) => Err(precise.explain()),
        Ok(_) => Err(failure.explain()),
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

/// Why a clinic did not load, and at which rows as far as is known.
struct Failure {
    /// The rows that were sent; one, when the culprit is known.
    place: Option<String>,
    error: sqlx::Error,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self { place: None, error }
    }
}

impl Failure {
    /// Integrity and data errors (classes 22 and 23) are a fixture's fault.
    fn is_about_a_row(&self) -> bool {
        self.place.is_some()
            && self.sqlstate().is_some_and(|state| {
                state.starts_with("22") || state.starts_with("23") || state == "42501"
            })
    }

    fn sqlstate(&self) -> Option<String> {
        let code = self.error.as_database_error()?.code()?;
        Some(code.into_owned())
    }

    fn explain(self) -> anyhow::Error {
        let Some(database) = self.error.as_database_error() else {
            return self.error.into();
        };
        let message = database.message().to_owned();
        let state = self.sqlstate().unwrap_or_default();
        let fault = match (state.as_str(), self.place) {
            // Row security says so with the same state as a missing grant.
            ("42501", _) if !message.contains("row-level security") => {
                Fault::new(Code::Privilege, message)
                    .hint("a login that is a member of `kine_owner` and `kine_app` loads fixtures")
            }
            ("42P01" | "42703" | "3F000" | "22023" | "42704", place) => Fault::new(
                Code::Pending,
                match place {
                    Some(place) => format!("{place} does not fit the schema: {message}"),
                    None => format!("the schema is not the one that fixtures are for: {message}"),
                },
            )
            .hint("kinedb upgrade"),
            (_, Some(place)) => {
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

    let mut summaries = Vec::new();
    let mut new_notes = HashSet::new();
    let steps: [(&str, &'static str, &[Row]); 6] = [
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
        let statement = Statement {
            table,
            sql: sqlx::SqlStr::from_static(sql),
        };
        let written = run(&mut tx, clinic.tenant, &statement, rows.iter(), batch).await?;
        summaries.push(TableSummary {
            table: table.to_owned(),
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
    let statement = Statement {
        table: "notes",
        sql: sqlx::SqlStr::from_static(include_str!("sql/amendments.sql")),
    };
    run(&mut tx, clinic.tenant, &statement, amended, batch).await?;

    for (table, rows) in &clinic.further {
        let mut loaded = 0;
        // Rows that name the same columns share a statement; the others keep their defaults.
        for rows in rows.chunk_by(|a, b| columns(a).eq(columns(b))) {
            let statement = insert(table, rows);
            loaded += run(&mut tx, clinic.tenant, &statement, rows.iter(), batch)
                .await?
                .len();
        }
        summaries.push(TableSummary {
            table: table.clone(),
            loaded,
            present: rows.len() - loaded,
        });
    }

    match batch {
        Batch::Table => tx.commit().await?,
        Batch::Row => tx.rollback().await?,
    }
    Ok(summaries)
}

/// What is sent for the rows of a table: `$1` is the clinic, `$2` a JSON array of rows.
struct Statement<'a> {
    table: &'a str,
    sql: sqlx::SqlStr,
}

fn columns(row: &Row) -> impl Iterator<Item = &String> {
    row.values
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
}

/// The insert for a table that has no statement of its own.
fn insert<'a>(table: &'a str, rows: &[Row]) -> Statement<'a> {
    let columns: Vec<Ident> = rows
        .first()
        .into_iter()
        .flat_map(columns)
        .map(Ident::new)
        .collect();
    let list = |prefix: &str| {
        let quoted: Vec<String> = columns
            .iter()
            .map(|name| format!("{prefix}{name}"))
            .collect();
        quoted.join(", ")
    };
    let table_name = Ident::new(table);
    Statement {
        table,
        sql: sqlx::AssertSqlSafe(format!(
            "insert into public.{table_name} (tenant_id, {}) select $1, {} \
             from pg_catalog.jsonb_populate_recordset(null::public.{table_name}, $2) as r \
             on conflict (tenant_id, id) do nothing returning id",
            list(""),
            list("r."),
        ))
        .into_sql_str(),
    }
}

/// Sends rows to one statement and returns the ids that it wrote.
async fn run<'r>(
    conn: &mut PgConnection,
    tenant: Uuid,
    statement: &Statement<'_>,
    rows: impl Iterator<Item = &'r Row>,
    batch: Batch,
) -> Result<Vec<Uuid>, Failure> {
    let rows: Vec<&Row> = rows.collect();
    let size = match batch {
        Batch::Table => rows.len().max(1),
        Batch::Row => 1,
    };
    let table = statement.table;
    let mut written = Vec::with_capacity(rows.len());
    for part in rows.chunks(size) {
        let values: Vec<_> = part.iter().map(|row| &row.values).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar(statement.sql.clone())
            .bind(tenant)
            .bind(sqlx::types::Json(values))
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| Failure {
                place: part.first().map(|row| match batch {
                    Batch::Table => format!("`{}`: a row of `{table}`", row.path),
                    Batch::Row => format!(
                        "`{}` line {}: row `{}` of `{table}`",
                        row.path, row.line, row.key
                    ),
                }),
                error,
            })?;
        written.extend(ids);
    }
    Ok(written)
}
