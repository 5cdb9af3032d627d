//! `postmaster.pid`: what a running server writes into its data folder.
//!
//! Lines: pid, data folder, start time, port, socket folder, address, shared
//! memory key, status (PostgreSQL source, `miscadmin.h`, `LOCK_FILE_LINE_*`).

use std::io;
use std::path::Path;

/// The file's name in the data folder.
pub(super) const NAME: &str = "postmaster.pid";

/// How far the server says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// What kinedb reads of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    pub(super) phase: Phase,
}

impl PidFile {
    /// None if there is none, or none that can be understood.
    pub(super) fn read(data: &Path) -> Option<Self> {
        parse(&std::fs::read_to_string(data.join(NAME)).ok()?)
    }
}

fn parse(text: &str) -> Option<PidFile> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    let phase = match text.lines().nth(7).map(str::trim) {
        Some("ready" | "standby") => Phase::Ready,
        Some("stopping") => Phase::Stopping,
        _ => Phase::Starting,
    };
    Some(PidFile { pid, phase })
}

/// Puts another pid into the first line and leaves the rest, the shared memory
/// key above all, as it is.
pub(super) fn rewrite_pid(data: &Path, pid: u32) -> io::Result<()> {
    let path = data.join(NAME);
    let text = std::fs::read_to_string(&path)?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    std::fs::write(&path, format!("{pid}\n{rest}"))
}

#[cfg(test)]
mod tests {
    use super::{Phase, parse};

    #[test]
    fn phases_are_told_apart() {
        let file =
            |status: &str| format!("4711\n/d\n1700000000\n5432\n/s\n\n  4194305  3\n{status}\n");
        for (status, phase) in [
            ("ready   ", Phase::Ready),
            ("standby ", Phase::Ready),
            ("starting", Phase::Starting),
            ("stopping", Phase::Stopping),
        ] {
            let read = parse(&file(status)).unwrap();
            assert_eq!((read.pid, read.phase), (4711, phase));
        }
        assert_eq!(parse("4711\n/d\n").unwrap().phase, Phase::Starting);
    }

    #[test]
    fn damaged_files_are_no_files() {
        for text in ["", "\n", "abc\n", "-4711\n", "0\n", "1\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
