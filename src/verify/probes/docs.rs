//! What each probe's finding means: the header of its `.sql` file, and the
//! statement that shows it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use include_dir::{Dir, include_dir};

use crate::verify::finding::Severity;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/verify/probes");

/// The documentation of one kind of finding.
#[derive(Debug, Clone, Default)]
pub struct Doc {
    /// The stem of its file.
    pub id: String,
    /// The fields of the header, by name.
    pub fields: BTreeMap<String, String>,
    /// The statement, with slots in braces.
    pub template: String,
}

impl Doc {
    /// A field of the header, or nothing.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The severity that its header gives it.
    pub fn severity(&self) -> Severity {
        match self.field("severity") {
            "note" => Severity::Note,
            "warning" => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// Every probe's documentation, by id.
pub fn all() -> &'static BTreeMap<String, Doc> {
    static DOCS: OnceLock<BTreeMap<String, Doc>> = OnceLock::new();
    DOCS.get_or_init(|| {
        FILES
            .files()
            .filter_map(|file| {
                let path = file.path();
                (path.extension()? == "sql").then_some(())?;
                let id = path.file_stem()?.to_str()?.to_owned();
                Some((id.clone(), parse(id, file.contents_utf8()?)))
            })
            .collect()
    })
}

fn parse(id: String, text: &str) -> Doc {
    let mut doc = Doc {
        id,
        ..Doc::default()
    };
    let mut last = String::new();
    for line in text.lines() {
        let Some(header) = line.strip_prefix("--") else {
            doc.template.push_str(line);
            doc.template.push('\n');
            continue;
        };
        match header.trim().split_once(": ") {
            Some((name, value)) if !header.starts_with("   ") => {
                name.clone_into(&mut last);
                doc.fields.insert(name.to_owned(), value.trim().to_owned());
            }
            _ => {
                if let Some(field) = doc.fields.get_mut(&last) {
                    field.push(' ');
                    field.push_str(header.trim());
                }
            }
        }
    }
    doc.template = doc.template.trim().to_owned();
    doc
}

/// Puts names into the slots of a template.
pub(crate) fn fill(template: &str, slots: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let tail = &rest[open..];
        let known = slots.iter().find(|(name, _)| {
            tail[1..].starts_with(name) && tail[1 + name.len()..].starts_with('}')
        });
        match known {
            Some((name, value)) => {
                out.push_str(value);
                rest = &tail[name.len() + 2..];
            }
            None => {
                out.push('{');
                rest = &tail[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_documented() {
        assert!(all().len() > 15);
        for doc in all().values() {
            for field in ["title", "severity", "why", "bad", "good", "fix", "source"] {
                assert!(!doc.field(field).is_empty(), "{} lacks {field}", doc.id);
            }
            assert!(!doc.template.is_empty(), "{} has no statement", doc.id);
        }
    }

    #[test]
    fn slots_are_filled_once() {
        assert_eq!(
            fill("{a} {b} {c}", &[("a", "{b}"), ("b", "2")]),
            "{b} 2 {c}"
        );
    }
}
