//! The documentation of checks and probes, read from their own headers.

use include_dir::{Dir, include_dir};

use super::finding::Severity;
use super::model::ExceptionKind;

static CHECKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/verify/checks");
static PROBES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/verify/probes");

/// One kind of finding: what its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The stem of the file.
    pub id: &'static str,
    /// One line: what is wrong.
    pub title: String,
    /// How much it weighs where the finding does not say otherwise.
    pub severity: Severity,
    /// Why it matters.
    pub why: String,
    /// SQL that is wrong.
    pub bad: String,
    /// SQL that is right.
    pub good: String,
    /// The repair.
    pub fix: String,
    /// Where the rule comes from.
    pub source: String,
    /// Kinds of exception that silence it.
    pub excepts: Vec<ExceptionKind>,
    /// It is a query over the catalogue; else a probe, or made by the engine.
    pub catalogue: bool,
    /// Names in `_needs.sql`: where one of them is not there, it finds nothing.
    pub(crate) needs: Vec<&'static str>,
    pub(crate) body: &'static str,
}

/// Every check and probe, by id.
pub fn list() -> Vec<Entry> {
    let mut entries: Vec<Entry> = files(&CHECKS)
        .map(|(id, text)| entry(id, text, true))
        .chain(files(&PROBES).map(|(id, text)| entry(id, text, false)))
        .collect();
    entries.sort_by_key(|entry| entry.id);
    entries
}

/// The entry with this id.
pub fn explain(id: &str) -> Option<Entry> {
    files(&CHECKS)
        .map(|(own, text)| (own, text, true))
        .chain(files(&PROBES).map(|(own, text)| (own, text, false)))
        .find(|(own, ..)| *own == id)
        .map(|(id, text, catalogue)| entry(id, text, catalogue))
}

/// The text of `docs/checks.md`.
pub fn markdown() -> String {
    let entries = list();
    let mut text = String::from(
        "# Checks\n\nGenerated from the headers in `src/verify/checks` and `src/verify/probes`; \
         `UPDATE_DOCS=1 cargo test` rewrites it.\n\n| id | severity | finds |\n|---|---|---|\n",
    );
    for entry in &entries {
        text += &format!(
            "| [`{0}`](#{0}) | {1} | {2} |\n",
            entry.id,
            word(entry.severity),
            entry.title
        );
    }
    for entry in &entries {
        text += &format!(
            "\n## {}\n\n{}. ({})\n\n{}\n",
            entry.id,
            capital(&entry.title),
            word(entry.severity),
            entry.why
        );
        for (name, code) in [("Bad", &entry.bad), ("Good", &entry.good)] {
            if !code.is_empty() {
                text += &format!("\n{name}:\n```sql\n{code}\n```\n");
            }
        }
        text += &format!("\nRepair: {}\n", entry.fix);
        if !entry.source.is_empty() {
            text += &format!("\nSource: {}\n", entry.source);
        }
    }
    text
}

/// The file that a set of SQL shares, by its name in `checks/`.
pub(crate) fn shared(name: &str) -> &'static str {
    CHECKS
        .get_file(name)
        .and_then(|file| file.contents_utf8())
        .unwrap_or_default()
}

fn files(dir: &'static Dir<'_>) -> impl Iterator<Item = (&'static str, &'static str)> {
    dir.files().filter_map(|file| {
        let name = file.path().file_name()?.to_str()?;
        let id = name
            .strip_suffix(".sql")
            .filter(|id| !id.starts_with('_'))?;
        Some((id, file.contents_utf8()?))
    })
}

fn entry(id: &'static str, text: &'static str, catalogue: bool) -> Entry {
    let severity = match field(text, "severity").as_str() {
        "note" => Severity::Note,
        "warning" => Severity::Warning,
        _ => Severity::Error,
    };
    let kind =
        |name: &str| serde_json::from_value(serde_json::Value::String(name.trim().to_owned())).ok();
    Entry {
        id,
        title: field(text, "title"),
        severity,
        why: field(text, "why"),
        bad: field(text, "bad"),
        good: field(text, "good"),
        fix: field(text, "fix"),
        source: field(text, "source"),
        excepts: field(text, "excepts").split(',').filter_map(kind).collect(),
        catalogue,
        needs: needs(text),
        body: text,
    }
}

fn needs(text: &'static str) -> Vec<&'static str> {
    text.lines()
        .take_while(|line| line.starts_with("--"))
        .find_map(|line| line.strip_prefix("-- needs: "))
        .map(|names| names.split(',').map(str::trim).collect())
        .unwrap_or_default()
}

/// A header line `-- name: ..`, with the comment lines after it that are indented.
fn field(text: &str, name: &str) -> String {
    let head = format!("-- {name}: ");
    let mut lines = text
        .lines()
        .take_while(|line| line.starts_with("--"))
        .skip_while(|line| !line.starts_with(&head));
    let mut value = lines
        .next()
        .map(|line| line[head.len()..].to_owned())
        .unwrap_or_default();
    for line in lines.map_while(|line| line.strip_prefix("--   ")) {
        value.push('\n');
        value.push_str(line);
    }
    value
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checks_need_is_looked_for_and_used() {
        let known: std::collections::BTreeSet<&str> = shared("_needs.sql")
            .split(" as \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let used = list().into_iter().flat_map(|entry| entry.needs).collect();
        assert_eq!(known, used);
    }

    #[test]
    fn every_header_is_whole() {
        for entry in list() {
            for (name, value) in [
                ("title", &entry.title),
                ("why", &entry.why),
                ("fix", &entry.fix),
                ("bad", &entry.bad),
                ("good", &entry.good),
            ] {
                assert!(!value.is_empty(), "{}: no {name}", entry.id);
            }
            assert!(
                !entry.title.ends_with('.')
                    && entry
                        .title
                        .starts_with(|c: char| c.is_lowercase() || c == '`'),
                "{}: {}",
                entry.id,
                entry.title
            );
            let named = entry
                .body
                .lines()
                .find_map(|line| line.strip_prefix("-- excepts: "))
                .map_or(0, |kinds| kinds.split(',').count());
            assert_eq!(
                named,
                entry.excepts.len(),
                "{}: unknown kind of exception",
                entry.id
            );
        }
    }
}
