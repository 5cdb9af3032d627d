//! Policies, roles, the database's own settings.

use super::{Phase, Work, name_and_table, part};
use crate::catalogue::Object;

impl Work<'_> {
    pub(super) fn create_policy(&mut self, object: &str, one: &Object) -> bool {
        let Some((name, table)) = name_and_table(object) else {
            return false;
        };
        let mut sql = format!(
            "create policy {name} on {table}\n  as {} for {} to {}",
            part(one, "kind"),
            part(one, "command"),
            part(one, "roles")
        );
        if let Some(using) = one.get("using") {
            sql.push_str(&format!("\n  using {}", parenthesised(using)));
        }
        if let Some(check) = one.get("with check") {
            sql.push_str(&format!("\n  with check {}", parenthesised(check)));
        }
        let role = self.owner(object);
        self.say(Phase::Policies, role, object, sql);
        true
    }

    pub(super) fn alter_policy(&mut self, object: &str, attribute: &str) -> bool {
        let (Some(from), Some(to)) = (self.from.get(object), self.to.get(object)) else {
            return false;
        };
        let Some((name, table)) = name_and_table(object) else {
            return false;
        };
        let remade = ["kind", "command"]
            .iter()
            .any(|key| from.get(key) != to.get(key))
            || ["using", "with check"]
                .iter()
                .any(|key| from.get(key).is_some() != to.get(key).is_some());
        let role = self.owner(object);
        if remade {
            // Once for all attributes that differ: equal statements are written once.
            self.say(
                Phase::DropBehaviour,
                role,
                object,
                format!("drop policy {name} on {table}"),
            );
            return self.create_object_again(object, to);
        }
        let sql = match (attribute, to.get(attribute)) {
            ("roles", Some(roles)) => format!("alter policy {name} on {table} to {roles}"),
            ("using", Some(text)) => format!(
                "alter policy {name} on {table}\n  using {}",
                parenthesised(text)
            ),
            ("with check", Some(text)) => format!(
                "alter policy {name} on {table}\n  with check {}",
                parenthesised(text)
            ),
            _ => return false,
        };
        self.say(Phase::Policies, role, object, sql);
        true
    }

    fn create_object_again(&mut self, object: &str, to: &Object) -> bool {
        let done = self.create_policy(object, to);
        if let Some(text) = to.get("comment") {
            let role = self.owner(object);
            self.comment(object, Some(text), role);
        }
        done
    }

    pub(super) fn alter_role(
        &mut self,
        object: &str,
        attribute: &str,
        left: Option<&str>,
        right: Option<&str>,
    ) -> bool {
        let name = object.trim_start_matches("role ");
        let yes = right == Some("yes");
        let word = match attribute {
            "superuser" => "superuser",
            "bypasses row security" => "bypassrls",
            "creates roles" => "createrole",
            "creates databases" => "createdb",
            "replicates" => "replication",
            "logs in" => "login",
            "inherits" => "inherit",
            _ => "",
        };
        if !word.is_empty() {
            let no = if yes { "" } else { "no" };
            self.say(
                Phase::Owners,
                None,
                object,
                format!("alter role {name} {no}{word}"),
            );
            return true;
        }
        if let Some(group) = attribute.strip_prefix("member of ") {
            let sql = match (left, right) {
                (None, Some(_)) => format!("grant {group} to {name}"),
                (Some(_), None) => format!("revoke {group} from {name}"),
                _ => return false,
            };
            self.say(Phase::Owners, None, object, sql);
            return true;
        }
        if let Some(setting) = attribute.strip_prefix("setting ") {
            return self.setting(object, &format!("alter role {name}"), setting, right);
        }
        false
    }

    pub(super) fn alter_database(&mut self, attribute: &str, right: Option<&str>) -> bool {
        let Some(setting) = attribute.strip_prefix("setting ") else {
            return false;
        };
        // The database has another name everywhere.
        let (setting, role) = setting
            .split_once(" of ")
            .map_or((setting, None), |(setting, role)| (setting, Some(role)));
        let value = right.map_or_else(
            || format!("reset {setting}"),
            |value| format!("set {setting} = {}", crate::db::ident::Literal::new(value)),
        );
        if right == Some("(hidden)") {
            return false;
        }
        let whose = role.map_or_else(
            || "alter database %I".to_owned(),
            |role| format!("alter role {role} in database %I"),
        );
        let sql = format!(
            "do $setting$ begin\n  execute format({}, current_database());\nend $setting$",
            crate::db::ident::Literal::new(format!("{whose} {}", value.replace('%', "%%")))
        );
        self.say(Phase::Owners, None, "database", sql);
        true
    }

    fn setting(&mut self, object: &str, alter: &str, setting: &str, right: Option<&str>) -> bool {
        let sql = match right {
            Some("(hidden)") => return false,
            // A list, as search_path is, is written as it was.
            Some(value) if setting == "search_path" => format!("{alter} set {setting} = {value}"),
            Some(value) => format!(
                "{alter} set {setting} = {}",
                crate::db::ident::Literal::new(value)
            ),
            None => format!("{alter} reset {setting}"),
        };
        self.say(Phase::Owners, None, object, sql);
        true
    }
}

/// The deparser leaves constants without parentheses.
fn parenthesised(text: &str) -> String {
    let mut depth = 0_i32;
    let whole = text.starts_with('(')
        && text.char_indices().all(|(at, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth > 0 || at + 1 == text.len()
        });
    if whole {
        text.to_owned()
    } else {
        format!("({text})")
    }
}
