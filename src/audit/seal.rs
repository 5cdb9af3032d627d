//! Writing seals: clinic by clinic, batch by batch, each in a short transaction.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::access::enter;
use super::heads::Head;
use super::{refused, rollback, send};

/// How many events a seal covers at the most, unless told otherwise: small enough
/// to name a narrow range when one of them changes, and to stay in memory.
pub const BATCH: i32 = 10_000;

/// What was sealed of one clinic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Sealed {
    /// The clinic.
    pub tenant: Uuid,
    /// Events that got a seal now.
    pub events: i64,
    /// Seals that were written now.
    pub seals: i64,
    /// The newest seal, old or new; none where there is nothing to seal.
    pub head: Option<Head>,
}

const GRANT: &str = "as an administrator: grant kine_sealer to <user>";

/// The clinics that this session may seal.
///
/// # Errors
/// `privilege` if it may not see which clinics there are.
pub async fn tenants(conn: &mut PgConnection) -> anyhow::Result<Vec<Uuid>> {
    sqlx::query_scalar("select t.tenant_id from public.tenants t order by 1")
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "listing the clinics", GRANT))
}

/// Seals everything of a clinic that is settled: events of transactions that have
/// ended, and all before them. Safe to run at once from several sessions.
///
/// # Errors
/// `privilege`, `budget-spent` behind a lock, a lost connection. What was sealed
/// until then stays sealed.
pub async fn seal(
    conn: &mut PgConnection,
    tenant: Uuid,
    batch: i32,
    tell: &mut dyn FnMut(i64),
) -> anyhow::Result<Sealed> {
    let mut sealed = Sealed {
        tenant,
        events: 0,
        seals: 0,
        head: None,
    };
    loop {
        send(conn, "begin isolation level read committed; set local lock_timeout = '10s'; set local jit = off")
            .await
            .context("cannot begin to seal")?;
        enter(conn, tenant).await?;
        let row: Result<Option<(i64, i64, bool)>, _> = sqlx::query_as(
            "select s.number, s.events, s.closes from public.seal_audit_events($1) s",
        )
        .bind(batch)
        .fetch_optional(&mut *conn)
        .await;
        let row = match row {
            Ok(row) => row,
            Err(cause) => {
                rollback(conn).await?;
                return Err(refused(cause, &format!("sealing clinic {tenant}"), GRANT));
            }
        };
        sealed.head = head(conn, tenant).await?;
        send(conn, "commit").await.context("cannot write a seal")?;
        let Some((_, events, closes)) = row else {
            return Ok(sealed);
        };
        sealed.events += events;
        sealed.seals += 1;
        tell(events);
        if closes {
            // What was written since is for the next run, which would else never end.
            return Ok(sealed);
        }
    }
}

/// The newest seal of the clinic whose context is set.
async fn head(conn: &mut PgConnection, tenant: Uuid) -> anyhow::Result<Option<Head>> {
    let row: Option<(i64, String)> = sqlx::query_as(
        "select s.number, pg_catalog.encode(s.hash, 'hex') from public.audit_seals s \
         where s.tenant_id = $1 order by s.number desc limit 1",
    )
    .bind(tenant)
    .fetch_optional(&mut *conn)
    .await
    .map_err(|cause| refused(cause, "reading the head of the chain", GRANT))?;
    Ok(row.map(|(number, hash)| Head {
        tenant,
        number,
        hash,
    }))
}
