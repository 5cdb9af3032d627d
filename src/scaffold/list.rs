//! The written list of migrations in `migration/src/lib.rs`.
//!
//! Read and extended by lines, not by a pattern over the whole file: what does
//! not look as expected is refused, never rewritten.

use std::collections::BTreeSet;

use crate::fault::{Code, fail};

const OPEN: &str = "vec![";
const CLOSE: &str = "]";

/// The lines between `vec![` and `]` in `fn migrations()`.
fn body(text: &str) -> anyhow::Result<std::ops::Range<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let function = lines
        .iter()
        .position(|line| line.trim_start().starts_with("fn migrations()"));
    let open = function.and_then(|start| (start..lines.len()).find(|at| lines[*at].trim() == OPEN));
    let close = open.and_then(|start| (start..lines.len()).find(|at| lines[*at].trim() == CLOSE));
    match (open, close) {
        (Some(open), Some(close)) => Ok(open + 1..close),
        _ => fail(
            Code::BadFile,
            "`migration/src/lib.rs` has no list of the expected form",
            "`fn migrations()` holds `vec![`, one `sql!(\"NAME\"),` a line, and `]`, each on a line of its own",
        ),
    }
}

/// The names in the list, in order.
pub(super) fn names(text: &str) -> anyhow::Result<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut names: Vec<String> = Vec::new();
    for at in body(text)? {
        let line = lines[at].trim();
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let quoted = line
            .strip_prefix("sql!(\"")
            .and_then(|rest| rest.strip_suffix("\"),"));
        let module = line
            .strip_prefix("Box::new(")
            .and_then(|rest| rest.split_once("::"))
            .map(|(module, _)| module);
        let Some(name) = quoted.or(module) else {
            return fail(
                Code::BadFile,
                format!(
                    "line {} of `migration/src/lib.rs` is no entry of the list: `{line}`",
                    at + 1
                ),
                "an entry is `sql!(\"NAME\"),` or `Box::new(NAME::Migration),` on a line of its own",
            );
        };
        if names.iter().any(|other| other == name) {
            return fail(
                Code::BadFile,
                format!("`{name}` is listed twice in `migration/src/lib.rs`"),
                "remove one of the two lines",
            );
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Refuses a list that does not agree with the files.
pub(super) fn compare(listed: &[String], on_disk: &BTreeSet<String>) -> anyhow::Result<()> {
    if let Some(name) = on_disk.iter().find(|name| !listed.contains(name)) {
        return fail(
            Code::BadFile,
            format!("`{name}` has a file but no line in `migration/src/lib.rs`"),
            format!("add `sql!(\"{name}\"),` to the list, or remove its files"),
        );
    }
    if let Some(name) = listed.iter().find(|name| !on_disk.contains(*name)) {
        return fail(
            Code::BadFile,
            format!("`{name}` is listed in `migration/src/lib.rs` but has no file"),
            "restore its files, or remove the line",
        );
    }
    Ok(())
}

/// The text with one more line at the end of the list.
pub(super) fn enter(text: &str, name: &str) -> anyhow::Result<String> {
    let end = body(text)?.end;
    let mut fresh = String::with_capacity(text.len() + name.len() + 32);
    for (at, line) in text.lines().enumerate() {
        if at == end {
            let indent = " ".repeat(line.len() - line.trim_start().len() + 4);
            fresh.push_str(&format!("{indent}sql!(\"{name}\"),\n"));
        }
        fresh.push_str(line);
        fresh.push('\n');
    }
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn other() { vec![\n1\n] }\nfn migrations() -> V {\n    vec![\n        sql!(\"m1_a\"),\n        // why\n        Box::new(m2_b::Migration),\n    ]\n}\nconst X: [u8; 1] = [\n1\n]\n";

    #[test]
    fn the_list_is_read_and_extended_in_place() {
        assert_eq!(names(TEXT).unwrap(), ["m1_a", "m2_b"]);
        let more = enter(TEXT, "m3_c").unwrap();
        assert_eq!(names(&more).unwrap(), ["m1_a", "m2_b", "m3_c"]);
        assert_eq!(more.replace("        sql!(\"m3_c\"),\n", ""), TEXT);
    }

    #[test]
    fn an_empty_list_takes_its_first_entry() {
        let text = "fn migrations() {\n    vec![\n    ]\n}\n";
        assert_eq!(names(&enter(text, "m1_a").unwrap()).unwrap(), ["m1_a"]);
    }

    #[test]
    fn what_looks_otherwise_is_refused() {
        assert!(names("fn migrations() { vec![] }").is_err());
        assert!(names("fn migrations() {\nvec![\nfoo(),\n]\n}").is_err());
        assert!(names("fn migrations() {\nvec![\nsql!(\"a\"),\nsql!(\"a\"),\n]\n}").is_err());
    }

    #[test]
    fn a_list_and_files_that_disagree_are_refused() {
        let disk: BTreeSet<String> = ["a".to_owned()].into();
        assert!(compare(&["a".to_owned()], &disk).is_ok());
        assert!(compare(&[], &disk).is_err());
        assert!(compare(&["a".to_owned(), "b".to_owned()], &disk).is_err());
    }
}
