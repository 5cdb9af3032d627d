//! Views, functions, triggers, rules.

use std::collections::BTreeSet;

use super::tables::options_change;
use super::{Phase, Work, name_and_table, part};
use crate::catalogue::{Fingerprint, Object};

/// What a view reads, one name per line: `public.t.column`.
fn uses(view: &Object) -> impl Iterator<Item = &str> {
    view.hidden.get("uses").map_or("", String::as_str).lines()
}

/// The views that must go while tables change, and come back: those whose text
/// changes, whose columns change type or go, and those over them.
pub(super) fn remade<'a>(from: &'a Fingerprint, to: &'a Fingerprint) -> BTreeSet<&'a str> {
    let moved: BTreeSet<String> = from
        .kind("column ")
        .filter(|(name, one)| {
            to.get(name).is_none_or(|other| {
                other.get("type") != one.get("type")
                    || other.get("collation") != one.get("collation")
            })
        })
        .filter_map(|(name, _)| name.strip_prefix("column ").map(str::to_owned))
        .collect();
    let mut views: BTreeSet<&str> = from
        .kind("view ")
        .filter(|(name, one)| {
            to.get(name)
                .is_some_and(|other| other.get("definition") != one.get("definition"))
                || to.get(name).is_some() && uses(one).any(|used| moved.contains(used))
        })
        .map(|(name, _)| name)
        .collect();
    loop {
        let over: Vec<&str> = from
            .kind("view ")
            .filter(|(name, one)| {
                !views.contains(name)
                    && to.get(name).is_some()
                    && uses(one).any(|used| views.iter().any(|view| reads(used, view)))
            })
            .map(|(name, _)| name)
            .collect();
        if over.is_empty() {
            return views;
        }
        views.extend(over);
    }
}

/// `public.v.column` is of `view public.v`.
fn reads(used: &str, view: &str) -> bool {
    let name = view.trim_start_matches("view ");
    used.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// How many views stand under this one.
pub(super) fn depth(side: &Fingerprint, view: &str) -> usize {
    fn walk(side: &Fingerprint, view: &str, seen: usize) -> usize {
        // Views cannot read themselves; the bound only keeps a broken file from looping.
        if seen > 64 {
            return seen;
        }
        let Some(one) = side.get(view) else { return 0 };
        let mut deepest = 0;
        for used in uses(one) {
            let under = side
                .kind("view ")
                .find(|(name, _)| *name != view && reads(used, name));
            if let Some((name, _)) = under {
                deepest = deepest.max(1 + walk(side, name, seen + 1));
            }
        }
        deepest
    }
    walk(side, view, 0)
}

impl Work<'_> {
    pub(super) fn create_view(&mut self, object: &str, name: &str, one: &Object) -> bool {
        let options = one
            .get("options")
            .map_or_else(String::new, |options| format!("\n  with ({options})"));
        let body = part(one, "definition").trim().trim_end_matches(';');
        let depth = depth(self.to, object);
        self.ordered(
            Phase::Views,
            depth,
            one.get("owner").map(str::to_owned),
            object,
            format!("create view {name}{options} as\n{body}"),
        );
        true
    }

    /// What can be set on a view's column.
    pub(super) fn view_part(&mut self, object: &str) {
        let to = self.to;
        let Some(one) = to.get(object) else { return };
        let role = self.owner(object);
        match object.split(' ').next() {
            Some("column") => {
                if let (Some((view, column)), Some(default)) =
                    (super::column_of(object), one.get("default"))
                {
                    self.say(
                        Phase::Owners,
                        None,
                        object,
                        format!("alter view {view} alter column {column} set default {default}"),
                    );
                }
                if let Some(text) = one.get("comment") {
                    self.comment(object, Some(text), role);
                }
                self.all_grants(object, None, Some(one));
            }
            Some("trigger") => {
                self.create_trigger(object, one);
            }
            Some("rule") => {
                self.create_rule(object, one);
            }
            _ => {}
        }
    }

    pub(super) fn alter_view(
        &mut self,
        object: &str,
        attribute: &str,
        left: Option<&str>,
        right: Option<&str>,
    ) -> bool {
        if attribute != "options" {
            return false;
        }
        let role = self.owner(object);
        // `set` and `reset` do not stand in one statement of a view.
        for change in options_change(left, right)
            .unwrap_or_default()
            .split("), ")
            .filter(|text| !text.is_empty())
        {
            let close = if change.ends_with(')') { "" } else { ")" };
            self.say(
                Phase::RowSecurity,
                role.clone(),
                object,
                format!("alter {object} {change}{close}"),
            );
        }
        true
    }

    /// What was set on a view's column and is not any more.
    pub(super) fn clear_view_column(&mut self, object: &str) {
        let from = self.from;
        let Some(one) = from.get(object) else { return };
        if let (Some((view, column)), Some(_)) = (super::column_of(object), one.get("default")) {
            self.say(
                Phase::Owners,
                None,
                object,
                format!("alter view {view} alter column {column} drop default"),
            );
        }
        if one.get("comment").is_some() {
            let role = self.owner(object);
            self.comment(object, None, role);
        }
        self.all_grants(object, Some(one), None);
    }

    pub(super) fn create_function(&mut self, object: &str, one: &Object) -> bool {
        let Some(definition) = one.hidden.get("definition") else {
            return false;
        };
        let definition = definition.clone();
        self.say(
            Phase::Functions,
            one.get("owner").map(str::to_owned),
            object,
            definition,
        );
        true
    }

    /// Replaced whole: grants, owner and comment stay as they are.
    pub(super) fn alter_function(&mut self, object: &str) -> bool {
        let (Some(from), Some(to)) = (self.from.get(object), self.to.get(object)) else {
            return false;
        };
        if from.get("returns") != to.get("returns") {
            self.cannot(format!("{object}: returns: a function that returns something else is another function; drop the one and make the other by hand"));
            return true;
        }
        let Some(definition) = to.hidden.get("definition").cloned() else {
            return false;
        };
        let role = self.owner(object);
        self.say(Phase::Functions, role, object, definition);
        true
    }

    pub(super) fn create_trigger(&mut self, object: &str, one: &Object) -> bool {
        if one.get("partition of").is_some() {
            return true;
        }
        self.defined(Phase::Triggers, object, one);
        self.enabled(object, one.get("enabled"), true);
        true
    }

    pub(super) fn create_rule(&mut self, object: &str, one: &Object) -> bool {
        self.defined(Phase::Triggers, object, one);
        self.enabled(object, one.get("enabled"), true);
        true
    }

    pub(super) fn alter_trigger(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        match attribute {
            "enabled" => {
                self.enabled(object, right, false);
                true
            }
            "definition" => self.remake(object, attribute, &["definition"]),
            _ => false,
        }
    }

    fn enabled(&mut self, object: &str, how: Option<&str>, fresh: bool) {
        let verb = match how {
            Some("always") => "enable always",
            Some("on a replica") => "enable replica",
            Some("no") => "disable",
            _ if fresh => return,
            _ => "enable",
        };
        let kind = object.split(' ').next().unwrap_or("trigger");
        if let Some((name, table)) = name_and_table(object) {
            let role = self.owner(object);
            self.say(
                Phase::Triggers,
                role,
                object,
                format!("alter table {table} {verb} {kind} {name}"),
            );
        }
    }
}
