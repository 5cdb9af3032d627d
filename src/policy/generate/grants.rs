//! Grants and default privileges.

use std::collections::BTreeSet;

use super::{Phase, Work, column_of, kind_and_name};
use crate::catalogue::Object;

const PREFIX: &str = "grants to ";

impl Work<'_> {
    /// Every grant of an object that is new.
    pub(super) fn all_grants(&mut self, object: &str, from: Option<&Object>, to: Option<&Object>) {
        let keys: BTreeSet<String> = from
            .iter()
            .chain(to.iter())
            .flat_map(|one| one.attributes.keys())
            .filter(|key| key.starts_with(PREFIX))
            .cloned()
            .collect();
        for key in keys {
            let left = from.and_then(|one| one.get(&key)).map(str::to_owned);
            let right = to.and_then(|one| one.get(&key)).map(str::to_owned);
            self.grant_change(object, &key, left.as_deref(), right.as_deref());
        }
        // What the server grants to everybody by itself.
        let (kind, name) = kind_and_name(object);
        if from.is_none()
            && matches!(kind, "function" | "procedure" | "type")
            && to.is_some_and(|one| one.get("grants to public").is_none())
        {
            let role = self.owner(object);
            self.say(
                Phase::Revokes,
                role,
                object,
                format!("revoke all on {kind} {name} from public"),
            );
        }
    }

    pub(super) fn grant_change(
        &mut self,
        object: &str,
        attribute: &str,
        left: Option<&str>,
        right: Option<&str>,
    ) {
        let grantee = attribute.trim_start_matches(PREFIX);
        let role = self.owner(object);
        let owner = self
            .to
            .get(object)
            .and_then(|one| one.get("owner"))
            .or_else(|| self.from.get(object).and_then(|one| one.get("owner")));
        let to = match (grantee, owner) {
            ("its owner", Some(owner)) => owner.to_owned(),
            ("its owner", None) => return self.cannot(format!("{object}: {attribute}")),
            (other, _) => other.to_owned(),
        };
        let Some((on, columns)) = target(object) else {
            return self.cannot(format!("{object}: {attribute}"));
        };
        // No line for an owner means that nothing was taken away.
        if grantee == "its owner" {
            match right {
                None => self.say(
                    Phase::Grants,
                    role,
                    object,
                    format!("grant all on {on} to {to}"),
                ),
                Some("none") => self.say(
                    Phase::Revokes,
                    role,
                    object,
                    format!("revoke all on {on} from {to}"),
                ),
                Some(kept) => {
                    self.say(
                        Phase::Revokes,
                        role.clone(),
                        object,
                        format!("revoke all on {on} from {to}"),
                    );
                    self.say(
                        Phase::Grants,
                        role,
                        object,
                        format!("grant {kept} on {on} to {to}"),
                    );
                }
            }
            return;
        }
        let (old, new) = (rights(left), rights(right));
        let columns = columns.map_or_else(String::new, |name| format!(" ({name})"));
        let list = |rights: Vec<&str>| {
            rights
                .iter()
                .map(|one| format!("{one}{columns}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let gone: Vec<&str> = old
            .iter()
            .filter(|one| !new.iter().any(|other| other.0 == one.0))
            .map(|one| one.0)
            .collect();
        if !gone.is_empty() {
            self.say(
                Phase::Revokes,
                role.clone(),
                object,
                format!("revoke {} on {on} from {to}", list(gone)),
            );
        }
        let demoted: Vec<&str> = old
            .iter()
            .filter(|one| one.1 && new.contains(&(one.0, false)))
            .map(|one| one.0)
            .collect();
        if !demoted.is_empty() {
            self.say(
                Phase::Revokes,
                role.clone(),
                object,
                format!(
                    "revoke grant option for {} on {on} from {to}",
                    list(demoted)
                ),
            );
        }
        for (option, words) in [(false, ""), (true, " with grant option")] {
            let fresh: Vec<&str> = new
                .iter()
                .filter(|one| {
                    one.1 == option
                        && !old.contains(one)
                        && (option || !old.contains(&(one.0, true)))
                })
                .map(|one| one.0)
                .collect();
            if !fresh.is_empty() {
                self.say(
                    Phase::Grants,
                    role.clone(),
                    object,
                    format!("grant {} on {on} to {to}{words}", list(fresh)),
                );
            }
        }
    }

    pub(super) fn default_privileges(
        &mut self,
        object: &str,
        from: Option<&Object>,
        to: Option<&Object>,
    ) {
        let rest = object.trim_start_matches("default privileges of ");
        let (owner, schema) = rest
            .split_once(" in schema ")
            .map_or((rest, String::new()), |(owner, schema)| {
                (owner, format!(" in schema {schema}"))
            });
        let alter = format!("alter default privileges for role {owner}{schema}");
        let keys: BTreeSet<String> = from
            .iter()
            .chain(to.iter())
            .flat_map(|one| one.attributes.keys().cloned())
            .collect();
        for key in keys {
            let Some((kind, grantee)) = key.split_once(" granted to ") else {
                continue;
            };
            let (left, right) = (
                from.and_then(|one| one.get(&key)),
                to.and_then(|one| one.get(&key)),
            );
            if left == right || grantee == "itself" {
                continue;
            }
            match (left, right) {
                (_, Some("nothing")) => self.say(
                    Phase::Owners,
                    None,
                    object,
                    format!("{alter} revoke all on {kind} from {grantee}"),
                ),
                (Some("nothing"), None) => self.say(
                    Phase::Owners,
                    None,
                    object,
                    format!(
                        "{alter} grant {} on {kind} to {grantee}",
                        if kind == "functions" {
                            "execute"
                        } else {
                            "usage"
                        }
                    ),
                ),
                (_, None) => self.say(
                    Phase::Owners,
                    None,
                    object,
                    format!("{alter} revoke all on {kind} from {grantee}"),
                ),
                (left, Some(right)) => {
                    if left.is_some() {
                        self.say(
                            Phase::Owners,
                            None,
                            object,
                            format!("{alter} revoke all on {kind} from {grantee}"),
                        );
                    }
                    self.say(
                        Phase::Owners,
                        None,
                        object,
                        format!("{alter} grant {right} on {kind} to {grantee}"),
                    );
                }
            }
        }
    }
}

/// Rights and whether they may be passed on.
fn rights(text: Option<&str>) -> Vec<(&str, bool)> {
    text.unwrap_or_default()
        .split(", ")
        .filter(|one| !one.is_empty() && *one != "none")
        .map(|one| match one.strip_suffix(" with grant option") {
            Some(right) => (right, true),
            None => (one, false),
        })
        .collect()
}

/// What a grant is on, and the column if it is one.
fn target(object: &str) -> Option<(String, Option<&str>)> {
    if let Some((table, column)) = column_of(object) {
        return Some((format!("table {table}"), Some(column)));
    }
    let (kind, name) = kind_and_name(object);
    let word = match kind {
        "table" | "view" | "materialized view" => "table",
        "sequence" => "sequence",
        "function" | "aggregate" => "function",
        "procedure" => "procedure",
        "schema" => "schema",
        "type" => "type",
        "domain" => "domain",
        // It has another name everywhere.
        "database" => return Some(("database %I".to_owned(), None)),
        _ => return None,
    };
    Some((format!("{word} {name}"), None))
}
