//! Results, on stdout. With `ui`, the only code that prints.

pub mod check;
pub mod table;
pub mod verification;

use std::io::Write as _;

use serde::Serialize;

use crate::fault::{Code, Fault};

/// The forms a result can take. All but the first two belong to findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// Test report of CI servers
    Junit,
    /// Code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
    /// A page for auditors
    Html,
    /// For a pull request
    Markdown,
}

/// Writes a text and a line end to stdout. A reader that has gone away (`| head`)
/// is no error: the exit code still tells the outcome.
pub fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush()) {
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome.map_err(|cause| {
            let message = format!("cannot write the result to standard output: {cause}");
            Fault::new(Code::BadFile, message)
                .hint("make room where the output goes, and see what is done with `kinedb status`")
        })?),
    }
}

/// Writes a value as one indented JSON document.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}
