//! Whether there would be something to restore from: the newest backup, the last
//! restore that was proven, the archive of the write-ahead log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;

use super::manifest::Manifest;
use super::signature::{Key, Signature};
use crate::archive::write_whole;
use crate::fault::{Code, Fault};

/// Name of the note that a proven restore leaves beside the manifest.
pub const DRILL: &str = "verified.json";

/// A restore that was compared and proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// When, in UTC.
    pub verified_at: String,
    /// SHA-256 of the dump that was restored.
    pub sha256: String,
    /// Milliseconds until the data was back.
    pub restore_ms: u64,
    /// Milliseconds until it was compared and proven.
    pub verify_ms: u64,
    /// Rows that agreed.
    pub rows: i64,
}

/// One backup that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its folder.
    pub backup: PathBuf,
    /// Of which database.
    pub database: String,
    /// When its snapshot was taken.
    pub taken_at: String,
    /// Bytes of its dump.
    pub bytes: u64,
    /// It is encrypted.
    pub encrypted: bool,
    /// What is known of its manifest.
    pub signature: Signature,
    /// When a restore of it was proven.
    pub verified_at: Option<String>,
}

/// The write-ahead log's archive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Archiving {
    /// `archive_mode`.
    pub mode: String,
    /// The tool that the archive command names: pgbackrest, wal-g, or another.
    pub tool: Option<String>,
    /// Seconds since a segment was archived.
    pub last_seconds: Option<f64>,
    /// The last attempt failed.
    pub failing: bool,
}

/// Leaves the note of a proven restore in the backup's folder.
///
/// # Errors
/// The system's.
pub fn note(backup: &Path, drill: &Drill) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(drill).map_err(std::io::Error::other)? + "\n";
    write_whole(&backup.join(DRILL), text.as_bytes())
}

/// The backups in a folder, newest first, and what was signed by nobody who has the key;
/// what is no backup is passed over.
///
/// # Errors
/// `bad-file` where the folder cannot be read.
pub fn backups(folder: &Path, key: Option<&Key>) -> anyhow::Result<(Vec<Found>, Vec<String>)> {
    let entries = std::fs::read_dir(folder).map_err(|cause| {
        Fault::new(
            Code::BadFile,
            format!("cannot look into `{}`: {cause}", folder.display()),
        )
        .hint("name the folder that holds the backups with `--in FOLDER`")
    })?;
    let mut found = Vec::new();
    let mut forged = Vec::new();
    for entry in entries.flatten() {
        let backup = entry.path();
        // A name that begins with a dot is of one that is not finished.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let (manifest, signature) = match Manifest::read(&backup, key) {
            Ok(read) => read,
            Err(cause) => {
                let fault = Fault::of(&cause);
                if fault.is_some_and(|fault| fault.code() == Code::RestoreDiffers) {
                    forged.push(cause.to_string());
                }
                continue;
            }
        };
        let drill = std::fs::read_to_string(backup.join(DRILL))
            .ok()
            .and_then(|text| serde_json::from_str::<Drill>(&text).ok())
            .filter(|drill| drill.sha256 == manifest.dump.sha256);
        // Only its size: a checksum of terabytes belongs to a drill.
        let whole = std::fs::metadata(manifest.dump_path(&backup))
            .is_ok_and(|file| file.len() == manifest.dump.bytes);
        if whole {
            found.push(Found {
                backup,
                database: manifest.database.name,
                taken_at: manifest.taken_at,
                bytes: manifest.dump.bytes,
                encrypted: manifest.dump.encrypted,
                signature,
                verified_at: drill.map(|drill| drill.verified_at),
            });
        }
    }
    found.sort_by(|one, other| other.taken_at.cmp(&one.taken_at));
    forged.sort();
    Ok((found, forged))
}

/// Looks at the archive of the write-ahead log.
///
/// # Errors
/// A lost connection.
pub async fn archiving(conn: &mut PgConnection) -> anyhow::Result<Archiving> {
    let (mode, command, last_seconds, failing): (String, Option<String>, Option<f64>, bool) =
        sqlx::query_as(include_str!("sql/archiving.sql"))
            .fetch_one(&mut *conn)
            .await
            .context("cannot look at WAL archiving")?;
    let tool = command.map(|command| {
        ["pgbackrest", "wal-g", "barman"]
            .into_iter()
            .find(|tool| command.contains(tool))
            .unwrap_or("another command")
            .to_owned()
    });
    Ok(Archiving {
        mode,
        tool,
        last_seconds,
        failing,
    })
}

/// What is not as it should be.
pub fn problems(
    found: &[Found],
    archiving: Option<&Archiving>,
    max_age: Duration,
    max_drill: Duration,
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let age = |time: &str| -> Option<Duration> {
        let then: DateTime<Utc> = time.parse().ok()?;
        Some((now - then).to_std().unwrap_or_default())
    };
    let late = |age: Option<Duration>, most: Duration| age.is_none_or(|age| age > most);
    match found.first() {
        None => problems.push("there is no whole backup".to_owned()),
        Some(newest) if late(age(&newest.taken_at), max_age) => problems.push(format!(
            "the newest backup is of {}, older than {}",
            newest.taken_at,
            hours(max_age)
        )),
        Some(_) => {}
    }
    let drills = found.iter().filter_map(|one| one.verified_at.as_deref());
    match drills.max() {
        None => problems.push("no backup was ever restored and proven".to_owned()),
        Some(last) if late(age(last), max_drill) => problems.push(format!(
            "the last proven restore is of {last}, older than {}",
            hours(max_drill)
        )),
        Some(_) => {}
    }
    if let Some(archiving) = archiving {
        if archiving.mode == "off" {
            problems.push("the server does not archive its write-ahead log: nothing newer than the last backup can be recovered".to_owned());
        } else if archiving.failing {
            problems.push("archiving of the write-ahead log fails".to_owned());
        }
    }
    problems
}

fn hours(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    if hours >= 72 {
        format!("{} days", hours / 24)
    } else {
        format!("{hours} hours")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(taken_at: &str, verified_at: Option<&str>) -> Found {
        Found {
            backup: PathBuf::from("b"),
            database: "kine".to_owned(),
            taken_at: taken_at.to_owned(),
            bytes: 1,
            encrypted: true,
            signature: Signature::None,
            verified_at: verified_at.map(str::to_owned),
        }
    }

    #[test]
    fn age_decides() {
        let now = "2026-03-10T12:00:00Z".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let look = |found: &[Found]| problems(found, None, day, 30 * day, now).len();
        assert_eq!(look(&[]), 2);
        assert_eq!(look(&[backup("2026-03-10T00:00:00Z", None)]), 1);
        assert_eq!(
            look(&[backup("2026-03-10T00:00:00Z", Some("2026-03-01T00:00:00Z"))]),
            0
        );
        assert_eq!(
            look(&[backup("2026-03-09T00:00:00Z", Some("2026-01-01T00:00:00Z"))]),
            2
        );
    }
}
