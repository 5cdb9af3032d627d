//! Development data: three invented clinics, loaded through the policies.
//!
//! Each clinic is one file in `fixtures/dev/` (further tables have files in
//! `fixtures/dev/tables/`) and one transaction, in that
//! clinic's own context and as the roles that row security binds: what the
//! application may not write, a fixture does not smuggle in. Ids are derived
//! from the clinic's slug, the table and the row's key, so every laptop has the
//! same ones. Rows that are there are left as they are.
//!
//! This module starts no server, asks nothing and prints nothing; whether a
//! database may be seeded at all is for the caller to ask of [`environment()`].

mod environment;
mod fixture;
mod load;
mod scale;
mod tables;

pub use environment::{Environment, environment, mark, mark_development};
pub use fixture::Source;
pub use load::{ClinicSummary, SeedEvent, SeedSummary, TableSummary, load};
pub use scale::{BLOCK, Block, blocks, generate};

use sqlx::PgConnection;

static DEV: include_dir::Dir<'static> =
    include_dir::include_dir!("$CARGO_MANIFEST_DIR/fixtures/dev");

/// The development fixtures that this program carries, in the order of their names.
pub fn dev_sources() -> Vec<Source> {
    let tables = DEV.get_dir("tables");
    let mut sources: Vec<Source> = DEV
        .files()
        .chain(tables.into_iter().flat_map(include_dir::Dir::files))
        .filter(|file| file.path().extension().is_some_and(|ext| ext == "toml"))
        .filter_map(|file| {
            Some(Source {
                path: format!("fixtures/dev/{}", file.path().display()),
                text: file.contents_utf8()?.to_owned(),
            })
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Loads the development clinics, each in one transaction of its own.
///
/// The login must be able to become `kine_owner` and `kine_app`. A second call
/// changes nothing and writes no audit event.
///
/// # Errors
/// A [`Fault`](crate::fault::Fault): `bad-fixture` names file, line, table, key
/// and constraint, and nothing of that clinic is loaded; `pending` if the schema
/// is not there; `privilege` if a role may not be taken.
pub async fn load_dev(
    conn: &mut PgConnection,
    progress: &mut dyn FnMut(SeedEvent),
) -> anyhow::Result<SeedSummary> {
    load(conn, &dev_sources(), progress).await
}

/// Loads what every environment needs. The schema of Kine keeps no data outside
/// clinics, so there is nothing, and the summary says so by being empty.
///
/// # Errors
/// None today.
pub async fn load_reference(_conn: &mut PgConnection) -> anyhow::Result<SeedSummary> {
    Ok(SeedSummary::default())
}
