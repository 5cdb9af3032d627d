//! An export in the hands of whoever received it, or keeps it: whether it is what was written.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::export::{Export, File};
use super::manifest;
use super::signature::{self, Key, Signature};
use crate::archive::measure;
use crate::fault::{Code, Fault};

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What the manifest tells.
    pub export: Export,
    /// What is known of the manifest itself.
    pub signature: Signature,
    /// Everything that is not as it was written. Names of files and counts.
    pub problems: Vec<String>,
}

/// Holds every file of an export against its manifest, and the manifest against its signature.
///
/// # Errors
/// `bad-file` where there is no manifest or a file cannot be read; `restore-differs` where a
/// key is given and did not sign it. Files that differ are no error here.
pub fn check(folder: &Path, key: Option<&Key>) -> anyhow::Result<Received> {
    let shown = folder.display();
    let no_export = |cause: &dyn std::fmt::Display| {
        Fault::new(
            Code::BadFile,
            format!("`{shown}` is no export: its {}: {cause}", manifest::FILE),
        )
        .hint("name a folder that `kinedb export --tenant ID --to FOLDER` made")
    };
    let bytes = std::fs::read(folder.join(manifest::FILE)).map_err(|cause| no_export(&cause))?;
    // Before anything of it is believed.
    let signature = signature::check(folder, &bytes, key)?;
    let export: Export = serde_json::from_slice(&bytes).map_err(|cause| no_export(&cause))?;
    let mut problems = Vec::new();
    for file in &export.files {
        if let Some(problem) = differs(folder, file)? {
            problems.push(format!("`{}` {problem}", file.file));
        }
    }
    let entries = std::fs::read_dir(folder).map_err(|cause| no_export(&cause))?;
    let mut strange: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != manifest::FILE && name != signature::FILE)
        .filter(|name| export.files.iter().all(|file| file.file != *name))
        .map(|name| format!("`{name}` is not in the manifest"))
        .collect();
    strange.sort();
    problems.append(&mut strange);
    Ok(Received {
        export,
        signature,
        problems,
    })
}

fn differs(folder: &Path, file: &File) -> anyhow::Result<Option<String>> {
    // Only the name counts: a manifest cannot lead elsewhere.
    let name = Path::new(&file.file).file_name().unwrap_or_default();
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(Some("is missing".to_owned()));
    }
    let unread = |cause: std::io::Error| {
        Fault::new(
            Code::BadFile,
            format!("cannot read `{}`: {cause}", path.display()),
        )
        .hint("name a folder whose files you may read")
    };
    if measure(&path).map_err(unread)?.sha256 != file.sha256 {
        return Ok(Some("is not the file that was written".to_owned()));
    }
    if name.to_string_lossy().ends_with(".age") {
        return Ok(None);
    }
    // Against a manifest that was put together by somebody else.
    let mut rows = 0;
    for line in BufReader::new(std::fs::File::open(&path).map_err(unread)?).split(b'\n') {
        line.map_err(unread)?;
        rows += 1;
    }
    Ok((rows != file.rows).then(|| format!("holds {rows} rows, its manifest says {}", file.rows)))
}
