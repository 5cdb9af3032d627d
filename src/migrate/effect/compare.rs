//! The comparison of two looks: roles, grants, and what is left to the others.

use std::collections::BTreeSet;

use crate::migrate::effect::acl::{PUBLIC, Rights, words};
use crate::migrate::effect::snapshot::{Oid, Snapshot, Texts};
use crate::migrate::effect::{Change, Effect, functions, relations};

/// The changes found so far, with both looks.
pub(super) struct Comparison<'a> {
    pub(super) before: &'a Snapshot,
    pub(super) now: &'a Snapshot,
    pub(super) texts: &'a Texts,
    found: Vec<Change>,
    /// Roles that are made here and were given something, which did not widen by itself.
    given: BTreeSet<String>,
}

/// Everything that changed.
pub(super) fn changes(before: &Snapshot, now: &Snapshot, texts: &Texts) -> Vec<Change> {
    let mut comparison = Comparison {
        before,
        now,
        texts,
        found: Vec::new(),
        given: BTreeSet::new(),
    };
    comparison.roles();
    comparison.schemas();
    relations::compare(&mut comparison);
    functions::compare(&mut comparison);
    comparison.rest();
    comparison.members_of_new_roles();
    comparison.found
}

impl Comparison<'_> {
    pub(super) fn add(
        &mut self,
        effect: Effect,
        object: impl Into<String>,
        what: impl Into<String>,
    ) {
        self.found.push(Change {
            effect,
            object: object.into(),
            what: what.into(),
        });
    }

    pub(super) fn widens(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.add(Effect::Widens, object, what);
    }

    pub(super) fn narrows(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.add(Effect::Narrows, object, what);
    }

    /// A grant that everybody or a wider one covers already changes nothing. Nobody was
    /// a role that is made here: its rights widen where, by `binds`, they are not bound
    /// to each tenant's own rows.
    pub(super) fn rights(
        &mut self,
        object: &str,
        before: (&Rights, &Rights),
        now: (&Rights, &Rights),
        binds: &dyn Fn(&str, &[char]) -> bool,
    ) {
        let more = |old: (&Rights, &Rights), new: &Rights| {
            let mut found = Vec::new();
            for (who, letters) in &new.0 {
                let new = letters.keys().copied();
                let new: Vec<char> = new
                    .filter(|letter| !old.0.may(who, *letter) && !old.1.may(who, *letter))
                    .collect();
                if !new.is_empty() {
                    found.push((who.clone(), new));
                }
            }
            found
        };
        for (who, letters) in more(before, now.0) {
            let what = words(letters.iter().copied());
            if self.is_made_here(&who) && binds(&who, &letters) {
                let what = format!("{who}, a new role, may {what}");
                self.add(Effect::Neutral, object, what);
                self.given.insert(who);
            } else {
                self.widens(object, format!("{who} may now {what}"));
            }
        }
        for (who, letters) in more(now, before.0) {
            let what = words(letters.into_iter());
            self.narrows(object, format!("{who} may no longer {what}"));
        }
        for (who, letters) in &now.0.0 {
            let passes = |rights: &Rights, letter: char| {
                rights.0.get(who).and_then(|held| held.get(&letter)) == Some(&true)
            };
            let new = letters.keys().copied();
            let new: Vec<char> = new
                .filter(|letter| passes(now.0, *letter) && !passes(before.0, *letter))
                .collect();
            if !new.is_empty() {
                let what = words(new.into_iter());
                self.widens(object, format!("{who} may now grant {what} to others"));
            }
        }
    }

    fn roles(&mut self) {
        for (id, role) in &self.now.roles {
            let object = format!("role {}", self.now.role(*id));
            let old = self.before.roles.get(id);
            let had: &[String] = old.map_or(&[], |old| &old.powers);
            let new: Vec<&str> = role
                .powers
                .iter()
                .filter(|one| !had.contains(one))
                .map(String::as_str)
                .collect();
            let gone: Vec<&str> = had
                .iter()
                .filter(|one| !role.powers.contains(one))
                .map(String::as_str)
                .collect();
            if !new.is_empty() {
                self.widens(&object, format!("is now {}", new.join(", ")));
            }
            if !gone.is_empty() {
                self.narrows(&object, format!("is no longer {}", gone.join(", ")));
            }
        }
        for id in self.before.roles.keys() {
            if !self.now.roles.contains_key(id) {
                self.narrows(format!("role {}", self.before.role(*id)), "dropped");
            }
        }
        for ((role, member), (admin, passive)) in &self.now.members {
            let old = self.before.members.get(&(*role, *member));
            // A role that is made here had nothing before; what it gets is told where it gets it.
            if !self.before.roles.contains_key(role) || old == Some(&(*admin, *passive)) {
                continue;
            }
            let less = old.is_some_and(|old| (*admin <= old.0) && (*passive >= old.1));
            let object = format!("role {}", self.now.role(*member));
            let to = self.now.role(*role);
            if less {
                self.narrows(object, format!("has less of role {to}"));
            } else {
                self.widens(object, format!("is a member of {to} now, or more of one"));
            }
        }
        for (role, member) in self.before.members.keys() {
            let both = [role, member]
                .iter()
                .all(|id| self.now.roles.contains_key(*id));
            if both && !self.now.members.contains_key(&(*role, *member)) {
                let object = format!("role {}", self.now.role(*member));
                self.narrows(
                    object,
                    format!("is no longer a member of {}", self.now.role(*role)),
                );
            }
        }
    }

    fn is_made_here(&self, name: &str) -> bool {
        let mut made = self.now.roles.keys();
        made.any(|id| self.now.role(*id) == name && !self.before.roles.contains_key(id))
    }

    /// What a role that is made here was given, those who are members of it have too.
    fn members_of_new_roles(&mut self) {
        let mut found = Vec::new();
        for ((role, member), (_, passive)) in &self.now.members {
            let old = self.before.roles.get(member);
            let bound = old.is_some_and(|old| !old.powers.iter().any(|one| one == "superuser"));
            if *passive || !bound || self.before.roles.contains_key(role) {
                continue;
            }
            let reached = self.now.made_of(*role);
            if reached
                .iter()
                .any(|id| self.given.contains(self.now.role(*id)))
            {
                let what = format!("is a member of {}, which is new", self.now.role(*role));
                found.push((format!("role {}", self.now.role(*member)), what));
            }
        }
        for (object, what) in found {
            self.widens(object, what);
        }
    }

    fn schemas(&mut self) {
        for schema in &self.now.schemas {
            let object = format!("schema {}", schema.name);
            let rights = |snapshot: &Snapshot, acl: Option<&Vec<String>>, owner: Oid| {
                Rights::of(acl.map_or(&[][..], Vec::as_slice), snapshot.role(owner))
            };
            let now = rights(self.now, schema.acl.as_ref(), schema.owner);
            let Some(old) = self.before.schemas.iter().find(|old| old.id == schema.id) else {
                // All that is in it is new as well, and told by itself.
                let makers: Vec<&str> = now
                    .0
                    .iter()
                    .filter(|(_, held)| held.contains_key(&'C'))
                    .map(|(who, _)| who.as_str())
                    .collect();
                if !makers.is_empty() {
                    self.widens(
                        object,
                        format!("new, and {} may create in it", makers.join(", ")),
                    );
                }
                continue;
            };
            let was = rights(self.before, old.acl.as_ref(), old.owner);
            let none = Rights::default();
            // A schema has no rows.
            self.rights(&object, (&was, &none), (&now, &none), &|_, _| true);
            self.owner(&object, old.owner, schema.owner);
        }
    }

    /// Another owner has all rights, and is bound by less.
    pub(super) fn owner(&mut self, object: &str, before: Oid, now: Oid) {
        if before != now {
            let (old, new) = (self.before.role(before), self.now.role(now));
            let what = format!("belongs to {new} instead of {old}");
            self.widens(object, what);
        }
    }

    fn rest(&mut self) {
        let none = Rights::default();
        let (before, now) = (self.before, self.now);
        for (title, rights) in &now.others {
            let default = by_default(title);
            let was = before.others.get(title).unwrap_or(&default);
            // These have no rows either; what they let make is judged when it is made.
            let bare = title == "the database" || title.starts_with("default privileges");
            self.rights(title, (was, &none), (rights, &none), &|_, _| bare);
        }
        for (title, was) in &before.others {
            if !now.others.contains_key(title) {
                let default = by_default(title);
                self.rights(title, (was, &none), (&default, &none), &|_, _| false);
            }
        }
        for name in &now.extensions {
            if !before.extensions.contains(name) {
                // What it brings may be anything, and its functions are open to everybody.
                self.widens(
                    format!("extension {name}"),
                    "new: its functions are as open as it makes them",
                );
            }
        }
        for (name, what) in &now.publications {
            if before.publications.get(name) != Some(what) {
                self.widens(
                    format!("publication {name}"),
                    "new or changed: a subscriber reads all rows of its tables",
                );
            }
        }
        for name in before.publications.keys() {
            if !now.publications.contains_key(name) {
                self.narrows(format!("publication {name}"), "dropped");
            }
        }
        let who = now.settings.keys().chain(before.settings.keys());
        let mut who: Vec<Oid> = who.copied().collect();
        who.sort_unstable();
        who.dedup();
        for id in who {
            let of = |snapshot: &Snapshot| {
                let all = snapshot.settings.get(&id).cloned().unwrap_or_default();
                let mut all: Vec<String> = all.into_iter().filter(|one| decides(one)).collect();
                all.sort();
                all
            };
            if of(before) != of(now) {
                let name = if id == 0 { PUBLIC } else { now.role(id) };
                let what = "settings changed that sessions begin with, and that decide who they are or what they see";
                self.widens(format!("role {name}"), what);
            }
        }
    }
}

/// What holds where default privileges say nothing: functions and types are everybody's.
fn by_default(title: &str) -> Rights {
    let of = |kind: &str| title.starts_with(&format!("default privileges for {kind} of "));
    let letter = match () {
        () if title.contains(" in schema ") => return Rights::default(),
        () if of("functions") => "=X/",
        () if of("types") => "=U/",
        () => return Rights::default(),
    };
    Rights::of(&[letter.to_owned()], "")
}

/// A setting that policies may read, or that changes whom a session acts as or
/// which objects a name means.
fn decides(setting: &str) -> bool {
    let name = setting.split('=').next().unwrap_or_default();
    name.contains('.')
        || [
            "role",
            "search_path",
            "row_security",
            "session_replication_role",
            "session_authorization",
            "local_preload_libraries",
            "session_preload_libraries",
        ]
        .contains(&name)
}
