//! The names of objects in a description, taken apart.

use crate::catalogue::Object;

/// `policy p on t` is `policy` and `p on t`.
pub(super) fn kind_and_name(object: &str) -> (&str, &str) {
    object
        .strip_prefix("materialized view ")
        .map(|name| ("materialized view", name))
        .or_else(|| {
            let name = object.strip_prefix("event trigger ")?;
            Some(("event trigger", name))
        })
        .or_else(|| object.split_once(' '))
        .unwrap_or((object, ""))
}

/// The object without what `from` calls its kind: `column s.t.c` is `s.t` and `c`.
pub(super) fn column_of(object: &str) -> Option<(&str, &str)> {
    let name = object.strip_prefix("column ")?;
    // The last dot outside of quotes.
    let mut quoted = false;
    let mut last = None;
    for (at, c) in name.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => last = Some(at),
            _ => {}
        }
    }
    last.map(|at| (&name[..at], &name[at + 1..]))
}

/// The table of `policy p on t` or `constraint c on table t`, and the name before.
pub(super) fn name_and_table(object: &str) -> Option<(&str, &str)> {
    let (_, rest) = object.split_once(' ')?;
    let (name, table) = rest.rsplit_once(" on ")?;
    Some((
        name,
        table
            .trim_start_matches("table ")
            .trim_start_matches("domain "),
    ))
}

pub(super) fn part<'a>(object: &'a Object, attribute: &str) -> &'a str {
    object.get(attribute).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_outside_of_quotes() {
        assert_eq!(
            column_of("column public.\"a.b\".c"),
            Some(("public.\"a.b\"", "c"))
        );
        assert_eq!(
            name_and_table("policy p on public.t"),
            Some(("p", "public.t"))
        );
        assert_eq!(
            name_and_table("constraint c on table public.t"),
            Some(("c", "public.t"))
        );
        assert_eq!(
            kind_and_name("materialized view s.v"),
            ("materialized view", "s.v")
        );
    }
}
