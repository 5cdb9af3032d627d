//! The way into a context: what a session sets before policies let it see rows,
//! concluded from what they read.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::lexer::{Token, tokens};
use super::switches::{demanded as demanded_value, is_switch};
use super::{detect, documents, lists};
use crate::db::ident::Literal;
use crate::verify::config::Isolation;
use crate::verify::model::{Oid, Policy};

/// What the way in is concluded from.
pub(crate) struct Entry<'a> {
    /// Settings that policies read, themselves or through functions.
    pub(crate) settings: &'a BTreeSet<String>,
    /// The policies and the functions they call.
    pub(crate) texts: &'a [&'a str],
    /// The restrictive policies: what they ask of a claim every session must bring.
    pub(crate) demands: &'a [&'a str],
    /// Functions that hand out a claim by its name.
    pub(crate) accessors: &'a [&'a str],
    /// A table says which users belong to a tenant.
    pub(crate) members: bool,
    /// The setting that tells a place within the tenant.
    pub(crate) second: Option<&'a str>,
    /// The columns that hold the tenant.
    pub(crate) columns: &'a [String],
    /// The table of tenants and its key.
    pub(crate) table: Option<&'a (Oid, String)>,
    pub(crate) policies: &'a [Policy],
    /// Functions that read the setting which they are called with.
    pub(crate) readers: &'a HashSet<String>,
    /// Settings that tell who the user is, though their names do not say so.
    pub(crate) users: &'a HashSet<String>,
    /// The kind of type that the tenant's ids are of: `uuid`, `number`, ..
    pub(crate) kind: Option<&'a str>,
}

/// Names of the types of numbers.
const NUMBERS: [&str; 6] = ["integer", "int", "bigint", "smallint", "int4", "int8"];

impl Entry<'_> {
    /// It is read as a value that no tenant's id is: a level, a number of a person.
    fn holds_else(&self, setting: &str) -> bool {
        let read = |types: &[&str]| self.texts.iter().any(|text| read_as(text, setting, types));
        match self.kind {
            Some("uuid") => read(&NUMBERS),
            Some("number") => read(&["uuid"]),
            _ => false,
        }
    }

    /// Statements that fill the settings which policies compare with the tenant.
    pub(crate) fn tenant(&self) -> Vec<String> {
        let users = self.of_users();
        let mut statements = Vec::new();
        let mut switches = Vec::new();
        for (setting, json) in self.read() {
            let place = self.second == Some(setting);
            let told = json || users || place || !self.about_user(setting);
            let switch =
                about_bypass(setting) || !json && is_switch(self.texts, setting, self.readers);
            if !told && self.members && !switch {
                // Who acts is told beside the tenant: of a member policies let more be seen.
                statements.push(set(setting, ":user"));
            }
            if switch
                && !json
                && self
                    .texts
                    .iter()
                    .any(|text| read_as(text, setting, &["boolean", "bool"]))
            {
                // Once set in a session, it reads as empty ever after, and empty is no boolean.
                switches.push(set(setting, OFF));
            }
            if switch && !json && !about_bypass(setting) {
                let asked = demanded_of(self.policies, setting);
                statements
                    .extend(asked.map(|value| set(setting, &Literal::new(value).to_string())));
            }
            if !told || switch || !place && self.beside(setting) {
                continue;
            }
            if !json && !place && !users && self.holds_else(setting) {
                continue;
            }
            let value = if json {
                let leaf = |path: &[String]| {
                    Some(match path.last() {
                        Some(name) if users && about_user(name) && !name.contains("email") => {
                            ":tenant::text".to_owned()
                        }
                        // Of whom nobody is known, nothing is claimed.
                        Some(name) if about_user(name) => "nullif(:user::text, '')".to_owned(),
                        _ => ":tenant::text".to_owned(),
                    })
                };
                self.claims(&leaf)
            } else if place {
                // Without a place it reads as a context that was reset.
                Some(":user".to_owned())
            } else {
                Some(":tenant".to_owned())
            };
            statements.extend(value.map(|value| set(setting, &value)));
        }
        if statements.is_empty() {
            // Nothing but who the user is tells which tenants a session is in.
            let about = self.read().filter(|(setting, _)| self.about_user(setting));
            statements.extend(about.map(|(setting, _)| set(setting, ":user")));
        }
        if !statements.is_empty() {
            statements.append(&mut switches);
        }
        statements
    }

    fn about_user(&self, setting: &str) -> bool {
        about_user(setting) || self.users.contains(setting)
    }

    /// What a visitor's session sets: claims that every session brings, nobody's.
    pub(crate) fn visitor(&self) -> Vec<String> {
        let claims = self.claims(&|_| None);
        self.read()
            .filter(|(_, json)| *json)
            .filter_map(|(setting, _)| claims.as_deref().map(|claims| set(setting, claims)))
            .collect()
    }

    /// The settings that a session can set, and whether they hold JSON.
    fn read(&self) -> impl Iterator<Item = (&str, bool)> {
        self.settings
            .iter()
            .filter(|setting| setting.contains('.'))
            .map(|setting| {
                let json = setting.ends_with("claims")
                    || setting.ends_with("jwt")
                    || self.texts.iter().any(|text| read_as_json(text, setting));
                (setting.as_str(), json)
            })
    }

    /// A document of all claims that are read; `leaf` tells the value of one that
    /// says whose the session is.
    fn claims(&self, leaf: &dyn Fn(&[String]) -> Option<String>) -> Option<String> {
        let mut claims = Claims::default();
        for path in claim_paths(self.texts, self.accessors) {
            let asked = path.last().and_then(|name| demanded(self.demands, name));
            let value = match (path.last(), asked) {
                (_, Some(value)) => Some(format!("{}::text", Literal::new(value))),
                // What issues the claims names the role there that it takes.
                (Some(name), None) if name.ends_with("role") => {
                    Some("current_user::text".to_owned())
                }
                _ => leaf(&path),
            };
            if let Some(value) = value {
                claims.add(&path, value);
            }
        }
        // A list of tenants has the one in it.
        for path in self.texts.iter().flat_map(|text| lists::paths(text)) {
            if let Some(value) = leaf(&path) {
                claims.add(&path, format!("array[{value}]"));
            }
        }
        (!claims.0.is_empty()).then(|| format!("({})::text", claims.document()))
    }

    /// A tenant is a user: all that tells whose a row is, policies compare with the user.
    pub(crate) fn of_users(&self) -> bool {
        let mut tied = BTreeSet::new();
        for predicate in self.policies.iter().flat_map(Policy::predicates) {
            tied.extend(predicate.session_columns.iter().filter(|name| *name != "*"));
        }
        let users = detect::of_users(self.policies);
        let mut told: Vec<&String> = self.columns.iter().collect();
        if told.is_empty() {
            told.extend(tied);
        }
        !told.is_empty() && told.iter().all(|column| users.contains(column.as_str()))
    }

    /// It narrows within a tenant: policies compare it with other columns, and another
    /// setting with the tenant's.
    fn beside(&self, setting: &str) -> bool {
        let mut own = false;
        let mut others = false;
        let mut any = false;
        for policy in self.policies {
            for (column, read) in policy.predicates().flat_map(|predicate| &predicate.pairs) {
                let key = self.columns.contains(column)
                    || self
                        .table
                        .is_some_and(|(oid, key)| *oid == policy.relation && key == column);
                if read == setting {
                    any = true;
                    own |= key;
                } else {
                    others |= key;
                }
            }
        }
        any && !own && others
    }
}

/// Claims by their names, and below them those of a document that one of them holds.
#[derive(Default)]
struct Claims(BTreeMap<String, (Option<String>, Claims)>);

impl Claims {
    fn add(&mut self, path: &[String], value: String) {
        if let Some((name, rest)) = path.split_first() {
            let (own, below) = self.0.entry(name.clone()).or_default();
            if rest.is_empty() {
                *own = Some(value);
            } else {
                below.add(rest, value);
            }
        }
    }

    /// An expression for the document; what stands within a claim goes before its text.
    fn document(&self) -> String {
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, (own, below))| {
                let value = match own {
                    Some(value) if below.0.is_empty() => format!("to_jsonb({value})"),
                    _ => below.document(),
                };
                format!("{}, {value}", Literal::new(name))
            })
            .collect();
        format!("jsonb_build_object({})", members.join(", "))
    }
}

/// What a switch must hold for policies that tie every way through, beside the tie.
fn demanded_of(policies: &[Policy], setting: &str) -> Option<String> {
    let permissive = policies.iter().filter(|policy| policy.permissive);
    let tied = permissive
        .flat_map(Policy::predicates)
        .filter(|predicate| predicate.open.is_empty() && !predicate.session_columns.is_empty());
    demanded_value(tied.map(|predicate| predicate.text.as_str()), setting)
}

/// What a switch holds that nobody has turned on.
const OFF: &str = "'false'";

/// Whether a statement of the way in holds a switch off.
pub(crate) fn is_off(statement: &str) -> bool {
    statement.ends_with(&format!(", {OFF}, true)"))
}

fn set(setting: &str, value: &str) -> String {
    format!(
        "select set_config({}, {value}, true)",
        Literal::new(setting)
    )
}

/// Settings that statements set, by `set_config('x', ..)` or `set x = ..`.
pub(crate) fn settings_of(statements: &[String]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for statement in statements {
        let tokens = tokens(statement);
        for window in tokens.windows(3) {
            if let [name, open, Token::Text(setting)] = window
                && name.is_word("set_config")
                && open.is("(")
            {
                found.insert(setting.to_lowercase());
            }
        }
        if tokens.first().is_some_and(|token| token.is_word("set")) {
            let skip = 1 + usize::from(
                tokens
                    .get(1)
                    .is_some_and(|token| token.is_word("local") || token.is_word("session")),
            );
            let name: String = tokens
                .iter()
                .skip(skip)
                .map_while(|token| match token {
                    Token::Word(word) if word != "to" => Some(word.as_str()),
                    Token::Punct(dot) if dot == "." => Some("."),
                    _ => None,
                })
                .collect();
            found.insert(name);
        }
    }
    found.into_iter().filter(|name| !name.is_empty()).collect()
}

/// Columns that policies compare with a setting that a told context fills with the user
/// name users, whatever either is called.
pub(super) fn name_users(isolation: &Isolation, policies: &mut [Policy]) {
    let roles = isolation.role.iter().flat_map(|role| role.context.iter());
    let told = isolation.context.iter().chain(roles.flatten());
    let mut users = BTreeSet::new();
    for statement in told {
        // `set_config('x', :user, ..)`: the user alone, not a document that names one.
        for window in tokens(statement).windows(6) {
            if let [name, open, Token::Text(setting), comma, colon, user] = window
                && name.is_word("set_config")
                && open.is("(")
                && comma.is(",")
                && colon.is(":")
                && user.is_word("user")
            {
                users.insert(setting.to_lowercase());
            }
        }
    }
    for policy in policies {
        for predicate in policy.using.iter_mut().chain(&mut policy.check) {
            let named = predicate.pairs.iter();
            let named: Vec<String> = named
                .filter(|(column, setting)| {
                    users.contains(setting) && !predicate.user_columns.contains(column)
                })
                .map(|(column, _)| column.clone())
                .collect();
            predicate.user_columns.extend(named);
        }
    }
}

/// Names that statements call, as `f(..)` or `schema.f(..)`.
pub(super) fn called_by(statements: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in statements {
        let tokens = tokens(statement);
        for pair in tokens.windows(2).filter(|pair| pair[1].is("(")) {
            found.extend(pair[0].name().map(str::to_owned));
        }
    }
    found
}

/// A name that speaks of a user, not of a tenant.
pub(crate) fn about_user(name: &str) -> bool {
    name == "sub"
        || name.ends_with(".sub")
        || ["user", "uid", "actor", "email"]
            .iter()
            .any(|part| name.contains(part))
}

/// Whether a function's name says that a user is what it gives, and not what it asks by:
/// `current_user_id`, not `get_user_company`.
pub(crate) fn gives_user(name: &str) -> bool {
    const FORMS: [&str; 8] = ["id", "ids", "uuid", "text", "key", "name", "int", "safe"];
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let last = words.iter().rev().find(|word| !FORMS.contains(word));
    last.is_none_or(|last| {
        about_user(last)
            || ["me", "self", "sub", "person", "profile", "member"]
                .iter()
                .any(|own| last == own || own.len() > 4 && last.contains(own))
    })
}

pub(super) fn about_bypass(name: &str) -> bool {
    ["bypass", "admin", "role", "internal"]
        .iter()
        .any(|part| name.contains(part))
}

/// Whether a text takes what it reads of a setting for JSON: it is cast to that, or taken
/// apart like that, itself or what is made of it.
fn read_as_json(text: &str, setting: &str) -> bool {
    let arrow = |token: &Token| token.is("->") || token.is("->>") || token.is("#>>");
    let tokens = tokens(text);
    made_into(&tokens, setting, &|next| {
        tokens.get(next).is_some_and(arrow) || cast(&tokens, next, &["json", "jsonb"])
    })
}

/// Whether a text casts what it reads of a setting to one of these types.
fn read_as(text: &str, setting: &str, types: &[&str]) -> bool {
    let tokens = tokens(text);
    made_into(&tokens, setting, &|next| cast(&tokens, next, types))
}

fn cast(tokens: &[Token], at: usize, types: &[&str]) -> bool {
    tokens.get(at).is_some_and(|token| token.is("::"))
        && tokens
            .get(at + 1)
            .is_some_and(|token| types.iter().any(|name| token.is_word(name)))
}

/// Whether what follows a read of a setting, or what is made of it, is `made`.
fn made_into(tokens: &[Token], setting: &str, made: &dyn Fn(usize) -> bool) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        if !token.is_word("current_setting")
            || !matches!(tokens.get(at + 2), Some(Token::Text(name)) if name.eq_ignore_ascii_case(setting))
        {
            return false;
        }
        let (mut depth, mut lowest) = (0, 1);
        for (place, token) in tokens.iter().enumerate().skip(at + 1) {
            depth += token.nesting();
            // The call itself, or what stands around it; not what stands beside it.
            if token.is(")") && depth < lowest {
                lowest = depth;
                if made(place + 1) {
                    return true;
                }
            }
            // Beside it stands something else.
            if depth <= 0 && (token.is("=") || token.is_word("and") || token.is_word("or")) {
                return false;
            }
        }
        false
    })
}

/// The claims that the texts read, with those that functions hand out by their names.
fn claim_paths(texts: &[&str], accessors: &[&str]) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for text in texts {
        for window in tokens(text).windows(3) {
            if let [name, open, Token::Text(claim)] = window
                && open.is("(")
                && name.name().is_some_and(|name| accessors.contains(&name))
            {
                paths.insert(vec![claim.clone()]);
            }
        }
        paths.extend(documents::paths(text));
    }
    paths.retain(|path| path.len() == 1 || path.last().is_some_and(|name| name != "role"));
    paths
}

/// Whether a function takes out of JSON what an argument names.
pub(crate) fn hands_out(source: &str) -> bool {
    tokens(source).windows(2).any(|pair| {
        (pair[0].is("->>") || pair[0].is("->"))
            && (pair[1].name().is_some() || pair[1].is("$") || pair[1].is("("))
    })
}

/// The first text that predicates compare the claim of this name with.
fn demanded(predicates: &[&str], claim: &str) -> Option<String> {
    predicates.iter().find_map(|text| {
        let tokens = tokens(text);
        let at = tokens.iter().enumerate().position(|(at, token)| {
            matches!(token, Token::Text(name) if name == claim)
                && at > 0
                && tokens[at - 1].is("->>")
        })?;
        let equal = (at..tokens.len()).find(|place| tokens[*place].is("="))?;
        let between = &tokens[at..equal];
        if between
            .iter()
            .any(|token| ["and", "or", "not"].iter().any(|word| token.is_word(word)))
        {
            return None;
        }
        let after = tokens[equal + 1..].iter().find(|token| {
            !(token.is("(") || token.is("[") || token.is_word("any") || token.is_word("array"))
        });
        match after {
            Some(Token::Text(value)) => Some(value.clone()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_become_json() {
        let settings = BTreeSet::from([
            "request.jwt.claims".to_owned(),
            "app.user_id".to_owned(),
            "app.org".to_owned(),
        ]);
        let entry = Entry {
            settings: &settings,
            texts: &[
                "((((current_setting('request.jwt.claims'::text, true))::jsonb -> 'app_metadata'::text) ->> 'org'::text))::int",
            ],
            demands: &[
                "((COALESCE(((current_setting('request.jwt.claims'::text, true))::jsonb ->> 'aal'::text), 'aal1'::text)) = ANY (ARRAY['aal2'::text]))",
            ],
            accessors: &[],
            members: false,
            second: None,
            columns: &["org".to_owned()],
            table: None,
            policies: &[],
            readers: &HashSet::new(),
            users: &HashSet::new(),
            kind: None,
        };
        assert_eq!(
            entry.tenant(),
            [
                "select set_config('app.org', :tenant, true)",
                "select set_config('request.jwt.claims', (jsonb_build_object('app_metadata', jsonb_build_object('org', to_jsonb(:tenant::text))))::text, true)",
            ]
        );
    }

    #[test]
    fn switches_are_held_off_and_levels_left_alone() {
        let settings = BTreeSet::from([
            "app.is_admin".to_owned(),
            "app.org".to_owned(),
            "app.org_level".to_owned(),
        ]);
        let entry = |kind| {
            Entry {
                settings: &settings,
                texts: &[
                    "((current_setting('app.is_admin'::text, true))::boolean = true)",
                    "(NULLIF(current_setting('app.org_level'::text, true), ''::text))::integer = 1",
                ],
                demands: &[],
                accessors: &[],
                members: false,
                second: None,
                columns: &["org_id".to_owned()],
                table: None,
                policies: &[],
                readers: &HashSet::new(),
                users: &HashSet::new(),
                kind,
            }
            .tenant()
        };
        let (org, off) = (
            "select set_config('app.org', :tenant, true)",
            "select set_config('app.is_admin', 'false', true)",
        );
        assert_eq!(entry(Some("uuid")), [org, off]);
        let level = "select set_config('app.org_level', :tenant, true)";
        assert_eq!(entry(Some("number")), [org, level, off]);
        assert!(is_off(off) && !is_off(org));
    }

    #[test]
    fn what_a_look_up_gives() {
        for name in [
            "current_user_id",
            "auth_uid",
            "user",
            "get_current_user",
            "request_uid_text",
            "user_profile_id",
        ] {
            assert!(gives_user(name), "{name}");
        }
        for name in ["get_user_company", "user_org_ids", "current_user_tenant_id"] {
            assert!(!gives_user(name), "{name}");
        }
    }

    #[test]
    fn statements_name_their_settings() {
        let statements = [
            "select set_config('App.T', :tenant, true)".to_owned(),
            "set local app.u = :user".to_owned(),
        ];
        assert_eq!(settings_of(&statements), ["app.t", "app.u"]);
    }
}
