//! Monthly partitions, made ahead of time: an event without one lands in the default
//! partition, from which it is moved when its month is made.

use sqlx::postgres::PgConnection;

use super::access::{Access, begin_reading};
use super::{refused, rollback, send};

/// One month.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Month {
    /// `YYYY-MM`, in UTC.
    pub month: String,
    /// It was made now.
    pub made: bool,
    /// Events that lay in the default partition and were moved.
    pub moved: i64,
}

const GRANT: &str = "as an administrator: grant kine_sealer to <user>";

/// Makes the partitions of this month and so many after it, and of every month that
/// has events in the default partition, where this session can see those.
///
/// # Errors
/// `privilege`; `budget-spent` behind a lock, with what was made until then kept.
pub async fn make(
    conn: &mut PgConnection,
    access: &Access,
    ahead: i32,
) -> anyhow::Result<Vec<Month>> {
    let stray: Vec<(String, i64)> = if *access == Access::Bound {
        Vec::new()
    } else {
        begin_reading(conn, access).await?;
        let found = sqlx::query_as(include_str!("sql/stray.sql"))
            .fetch_all(&mut *conn)
            .await
            .map_err(|cause| refused(cause, "looking into the default partition", GRANT));
        rollback(conn).await?;
        found?
    };
    let wanted: Vec<String> = sqlx::query_scalar(include_str!("sql/months.sql"))
        .bind(ahead)
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "counting the months", GRANT))?;
    let mut months: Vec<String> = wanted
        .into_iter()
        .chain(stray.iter().map(|(month, _)| month.clone()))
        .collect();
    months.sort();
    months.dedup();
    let mut made = Vec::new();
    for month in months {
        let moved = stray
            .iter()
            .find(|(other, _)| *other == month)
            .map_or(0, |(_, count)| *count);
        made.push(make_one(conn, month, moved).await?);
    }
    Ok(made)
}

async fn make_one(conn: &mut PgConnection, month: String, moved: i64) -> anyhow::Result<Month> {
    // Writers of events queue behind this lock; half a second is what they can bear.
    send(conn, "begin; set local lock_timeout = '500ms'")
        .await
        .map_err(|cause| refused(cause, "making a partition", GRANT))?;
    let made: Result<bool, sqlx::Error> = sqlx::query_scalar(
        "select pg_catalog.to_regclass('public.audit_events_' || pg_catalog.replace($1, '-', '_')) is null \
         and public.create_audit_partition(($1 || '-01')::date) is not null",
    )
    .bind(&month)
    .fetch_one(&mut *conn)
    .await;
    match made {
        Ok(made) => {
            send(conn, "commit")
                .await
                .map_err(|cause| refused(cause, "making a partition", GRANT))?;
            Ok(Month { month, made, moved })
        }
        Err(cause) => {
            rollback(conn).await?;
            Err(refused(
                cause,
                &format!("making the partition of {month}"),
                GRANT,
            ))
        }
    }
}
