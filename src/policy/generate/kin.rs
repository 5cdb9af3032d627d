//! Partitions and inheritance.

use super::{Phase, Work, part};
use crate::catalogue::{COLUMN_ORDER, Fingerprint, Object};

/// Room for the statements of one depth.
pub(super) const STEP: usize = 1_000_000;

impl Work<'_> {
    /// `create table .. partition of` or `.. inherits`; what comes from above is not
    /// said again. `rest` is what stands behind it.
    pub(super) fn create_child(&mut self, object: &str, name: &str, one: &Object, rest: &str) {
        let role = one.get("owner").map(str::to_owned);
        let order = depth(self.to, object) * STEP + self.script.statements.len();
        let unlogged = if one.get("persistence") == Some("unlogged") {
            "unlogged "
        } else {
            ""
        };
        if let Some((parent, bound)) = one.get("partition of").and_then(of_and_bound) {
            let bound = bound.to_owned();
            self.ordered(
                Phase::Tables,
                order,
                role,
                object,
                format!("create {unlogged}table {name} partition of {parent}\n  {bound}{rest}"),
            );
            self.other_defaults(object, name, parent);
            return;
        }
        let parents = part(one, "inherits").to_owned();
        let columns: Vec<String> = part(one, COLUMN_ORDER)
            .split(", ")
            .filter_map(|column| {
                let one = self.to.get(&format!("column {name}.{column}"))?;
                (one.get("inherited").is_none())
                    .then(|| format!("  {column} {}", super::columns::definition(one)))
            })
            .collect();
        self.ordered(
            Phase::Tables,
            order,
            role,
            object,
            format!(
                "create {unlogged}table {name} (\n{}\n) inherits ({parents}){rest}",
                columns.join(",\n")
            ),
        );
    }

    /// A partition is made with the defaults of its table.
    fn other_defaults(&mut self, object: &str, name: &str, parent: &str) {
        let to = self.to;
        let parts: Vec<&str> = to.parts(object).map(|(part, _)| part).collect();
        for column in parts {
            let Some(bare) = column.strip_prefix(&format!("column {name}.")) else {
                continue;
            };
            let value = |of: &str| to.get(of).and_then(|one| one.get("default"));
            let own = value(column);
            if own != value(&format!("column {parent}.{bare}")) {
                self.alter_column(column, "default", own);
            }
        }
    }

    /// Attached, detached, or both where the bound is another.
    pub(super) fn alter_partition(
        &mut self,
        object: &str,
        name: &str,
        left: Option<&str>,
        right: Option<&str>,
    ) {
        let role = self.owner(object);
        if let Some((parent, _)) = left.and_then(of_and_bound) {
            self.say(
                Phase::Detach,
                role.clone(),
                object,
                format!("alter table {parent} detach partition {name}"),
            );
        }
        if let Some((parent, bound)) = right.and_then(of_and_bound) {
            self.say(
                Phase::Attach,
                role,
                object,
                format!("alter table {parent} attach partition {name}\n  {bound}"),
            );
        }
    }

    /// Parents that come and go.
    pub(super) fn alter_inheritance(
        &mut self,
        object: &str,
        name: &str,
        left: Option<&str>,
        right: Option<&str>,
    ) {
        let (old, new) = (
            list(left.unwrap_or_default()),
            list(right.unwrap_or_default()),
        );
        let role = self.owner(object);
        for parent in old.iter().filter(|one| !new.contains(one)) {
            self.say(
                Phase::Detach,
                role.clone(),
                object,
                format!("alter table {name} no inherit {parent}"),
            );
        }
        for parent in new.iter().filter(|one| !old.contains(one)) {
            self.say(
                Phase::Attach,
                role.clone(),
                object,
                format!("alter table {name} inherit {parent}"),
            );
        }
    }

    /// A constraint that a new partition or child has from above.
    pub(super) fn comes_from_above(&self, one: &Object) -> bool {
        let Some(table) = one.parent.as_deref().and_then(|table| self.to.get(table)) else {
            return false;
        };
        if one.get("inherited").is_some() {
            return true;
        }
        let Some((parent, _)) = table.get("partition of").and_then(of_and_bound) else {
            return false;
        };
        let parent = format!("table {parent}");
        // A new partition has no rows that were not checked.
        let text = |one: &Object| {
            let definition = part(one, "definition");
            definition.trim_end_matches(" NOT VALID").to_owned()
        };
        let own = text(one);
        self.to.parts(&parent).any(|(_, other)| text(other) == own)
    }
}

/// How many tables stand above this one.
pub(super) fn depth(side: &Fingerprint, object: &str) -> usize {
    let mut depth = 0;
    let mut level = vec![object.to_owned()];
    // No table stands above itself; a bound all the same.
    while depth < 64 {
        level = level
            .iter()
            .filter_map(|table| side.get(table))
            .flat_map(|one| {
                let of = one.get("partition of").and_then(of_and_bound);
                let mut above: Vec<String> = of
                    .into_iter()
                    .map(|(parent, _)| parent.to_owned())
                    .collect();
                above.extend(list(part(one, "inherits")).into_iter().map(str::to_owned));
                above
            })
            .map(|parent| format!("table {parent}"))
            .collect();
        if level.is_empty() {
            return depth;
        }
        depth += 1;
    }
    depth
}

/// `s.t FOR VALUES ..` or `s.t DEFAULT`, taken apart outside of quotes.
pub(super) fn of_and_bound(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// Names with commas between, taken apart outside of quotes and parentheses.
pub(super) fn list(text: &str) -> Vec<&str> {
    let (mut quoted, mut depth, mut begin) = (false, 0_i32, 0);
    let mut all = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    all.push(text[begin..].trim());
    all.retain(|one| !one.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_outside_of_quotes() {
        assert_eq!(
            of_and_bound("public.\"a b\" FOR VALUES IN ('x y')"),
            Some(("public.\"a b\"", "FOR VALUES IN ('x y')"))
        );
        assert_eq!(of_and_bound("s.t DEFAULT"), Some(("s.t", "DEFAULT")));
        assert_eq!(
            list("a.b, \"c, d\".e, f (g, h)"),
            ["a.b", "\"c, d\".e", "f (g, h)"]
        );
        assert_eq!(list(""), Vec::<&str>::new());
    }
}
