//! Many patients: rows that follow from their number, made by the server itself.
//!
//! They come in blocks: one practitioner, that practitioner's patients, their
//! visits, encounters and notes, in one transaction, in the clinic's context and
//! as `kine_app`. A block is there whole or not at all, so an interrupted run is
//! finished by the next.

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::load::ClinicSummary;
use crate::fault::{Code, Fault};

/// Patients of one practitioner, and of one transaction.
pub const BLOCK: u64 = 1_500;

/// Shares of the clinics: they differ in size, as clinics do.
const SHARES: [u64; 3] = [6, 3, 1];

/// What a generated block is made of, parents first. Each takes the clinic, the
/// practitioner, and the numbers of the first and the last patient.
const STATEMENTS: [&str; 4] = [
    include_str!("sql/scale_patients.sql"),
    include_str!("sql/scale_appointments.sql"),
    include_str!("sql/scale_encounters.sql"),
    include_str!("sql/scale_notes.sql"),
];

/// A practitioner and the numbers of the patients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The clinic.
    pub tenant: Uuid,
    /// Which block of the clinic, from 0.
    number: i64,
    /// Patients in it: [`BLOCK`], but for the clinic's last one.
    pub patients: u64,
}

/// Divides patients over the clinics, and each clinic's into blocks. The blocks of
/// all clinics alternate, so that two connections seldom write to the same one.
pub fn blocks(clinics: &[ClinicSummary], patients: u64) -> Vec<Block> {
    let shares: Vec<u64> = clinics
        .iter()
        .enumerate()
        .map(|(at, _)| SHARES.get(at).copied().unwrap_or(1))
        .collect();
    let total: u64 = shares.iter().sum();
    let mut left = patients;
    let mut blocks = Vec::new();
    for (at, (clinic, share)) in clinics.iter().zip(&shares).enumerate() {
        // The last clinic takes what rounding left over.
        let mut wanted = if at + 1 == clinics.len() {
            left
        } else {
            (u128::from(patients) * u128::from(*share) / u128::from(total)) as u64
        };
        left -= wanted;
        for number in 0.. {
            if wanted == 0 {
                break;
            }
            let patients = wanted.min(BLOCK);
            wanted -= patients;
            blocks.push(Block {
                tenant: clinic.tenant,
                number,
                patients,
            });
        }
    }
    blocks.sort_by_key(|block| block.number);
    blocks
}

/// Makes the blocks, over all the connections given at once. Returns how many
/// patients are new. `progress` is told how many each block stood for.
///
/// # Errors
/// `pending` if the schema is not the one this is for, `privilege` if the roles
/// may not be taken; what the connection says where it is lost. Whole blocks stay.
pub async fn generate(
    connections: &mut [PgConnection],
    blocks: &[Block],
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<u64> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let next = &next;
    let workers = connections.iter_mut().map(|conn| async move {
        let mut made = 0;
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(block) = blocks.get(at) else {
                return anyhow::Ok(made);
            };
            made += write(conn, block).await.map_err(explain)?;
            progress(block.patients);
        }
    });
    let made = futures_util::future::try_join_all(workers).await?;
    if let Some(conn) = connections.first_mut() {
        analyze(conn)
            .await
            .context("collecting statistics over the new rows")?;
    }
    Ok(made.into_iter().sum())
}

async fn write(conn: &mut PgConnection, block: &Block) -> Result<u64, sqlx::Error> {
    let practitioner = Uuid::new_v5(
        &block.tenant,
        format!("generated/practitioner/{}", block.number).as_bytes(),
    );
    let first = block.number * BLOCK as i64 + 1;
    let last = first + block.patients as i64 - 1;
    let mut tx = conn.begin().await?;
    sqlx::query(include_str!("sql/context.sql"))
        .bind(block.tenant.to_string())
        .execute(&mut *tx)
        .await?;
    sqlx::query("select pg_catalog.set_config('role', 'kine_app', true)")
        .execute(&mut *tx)
        .await?;
    let there: i64 = sqlx::query_scalar(include_str!("sql/scale_done.sql"))
        .bind(block.tenant)
        .bind(practitioner)
        .fetch_one(&mut *tx)
        .await?;
    if there >= block.patients as i64 {
        tx.rollback().await?;
        return Ok(0);
    }
    sqlx::query(include_str!("sql/scale_users.sql"))
        .bind(block.tenant)
        .bind(practitioner)
        .bind(block.number)
        .execute(&mut *tx)
        .await?;
    let mut made = 0;
    for (at, statement) in STATEMENTS.iter().enumerate() {
        let query = sqlx::query(*statement)
            .bind(block.tenant)
            .bind(practitioner);
        let done = match at {
            0 | 1 => query.bind(first).bind(last).execute(&mut *tx).await?,
            _ => query.execute(&mut *tx).await?,
        };
        if at == 0 {
            made = done.rows_affected();
        }
    }
    tx.commit().await?;
    Ok(made)
}

/// A planner that takes full tables for empty ones makes the first queries slow.
async fn analyze(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query("set local role kine_owner")
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "analyze public.users, public.patients, public.appointments, public.encounters, public.notes",
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

fn explain(error: sqlx::Error) -> anyhow::Error {
    let state = error
        .as_database_error()
        .and_then(|error| error.code())
        .map(std::borrow::Cow::into_owned);
    let message = error
        .as_database_error()
        .map(|error| error.message().to_owned());
    match (state.as_deref(), message) {
        (Some("42501"), Some(message)) => Fault::new(Code::Privilege, message)
            .hint("a login that is a member of `kine_owner` and `kine_app` generates patients")
            .into(),
        (Some("42P01" | "42703" | "42704" | "3F000" | "22023"), Some(message)) => Fault::new(
            Code::Pending,
            format!("the schema is not the one that generated patients are for: {message}"),
        )
        .hint("kinedb upgrade")
        .into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clinics(count: u128) -> Vec<ClinicSummary> {
        (0..count)
            .map(|n| ClinicSummary {
                slug: format!("clinic-{n}"),
                name: format!("Clinic {n}"),
                tenant: Uuid::from_u128(n),
                tables: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn every_patient_has_one_block_and_no_block_is_too_large() {
        for patients in [0, 1, 9, 10, 1_499, 15_000, 15_001, 1_000_003] {
            for count in 1..5 {
                let blocks = blocks(&clinics(count), patients);
                assert_eq!(
                    blocks.iter().map(|block| block.patients).sum::<u64>(),
                    patients
                );
                assert!(
                    blocks
                        .iter()
                        .all(|block| (1..=BLOCK).contains(&block.patients))
                );
            }
        }
    }

    #[test]
    fn a_larger_number_keeps_the_blocks_of_a_smaller_one() {
        let small = blocks(&clinics(3), 20_000);
        let large = blocks(&clinics(3), 50_000);
        for block in small {
            assert!(large.iter().any(|other| other.tenant == block.tenant
                && other.number == block.number
                && other.patients >= block.patients));
        }
    }
}
