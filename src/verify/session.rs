//! Being a role in a context: the statements that get there and back.
//!
//! Nothing here runs a probe; what changes roles or settings always runs in a
//! subtransaction, which puts both back whatever happens.

use std::collections::HashMap;

use sqlx::{PgConnection, Row as _};

use super::model::{ActAs, ActingRole, Oid, Scope};
use super::script::{self, Budget, Kind, Probe};
use crate::db::ident::{Ident, Literal};

/// Settings under which everything here is read and sent, for the rest of a transaction.
pub(crate) const PLAIN: &str = include_str!("plain.sql");

/// In a transaction of our own: the client may think for as long as it needs. Whoever
/// opened another has said how long that one may be silent.
pub(crate) const PATIENT: &str = "set local idle_in_transaction_session_timeout = 0";

/// Who the session was before any probe, and what its settings held.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    session_user: Ident,
    role: Option<Ident>,
    /// (setting, value), none where it was never set.
    settings: Vec<(String, Option<String>)>,
}

impl Origin {
    /// Reads it.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn read(conn: &mut PgConnection, scope: &Scope) -> anyhow::Result<Self> {
        let row = sqlx::query(
            "select session_user::text, current_setting('role'), \
             array(select current_setting(s, true) from unnest($1::text[]) with ordinality u(s, n) order by n)",
        )
        .bind(&scope.settings)
        .fetch_one(conn)
        .await?;
        let role: String = row.try_get(1)?;
        let values: Vec<Option<String>> = row.try_get(2)?;
        Ok(Self {
            session_user: Ident::new(row.try_get::<String, _>(0)?),
            role: (role != "none").then(|| Ident::new(role)),
            settings: scope.settings.iter().cloned().zip(values).collect(),
        })
    }

    /// Becomes the verifier again, keeping the context.
    pub(crate) fn back(&self, role: &ActingRole) -> Vec<String> {
        let mut steps = Vec::new();
        if role.act_as == ActAs::SessionAuthorization {
            steps.push(format!(
                "set local session authorization {}",
                self.session_user
            ));
        }
        steps.push(self.role.as_ref().map_or_else(
            || "set local role none".to_owned(),
            |name| format!("set local role {name}"),
        ));
        steps
    }

    /// Puts the settings back that a context changed, for work that is kept.
    pub(crate) fn forget(&self) -> Vec<String> {
        self.settings
            .iter()
            .map(|(name, value)| set(name, value.as_deref().unwrap_or("")))
            .collect()
    }

    /// Whether a setting of the context still reads as never set.
    pub(crate) fn untouched(&self) -> bool {
        self.settings.iter().all(|(_, value)| value.is_none())
    }
}

/// The context that a probe runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    /// The configured way into this tenant.
    Tenant(String),
    /// The configured way, with a text that names no tenant.
    Odd { label: &'static str, value: String },
    /// As a fresh session of the role: nothing but its defaults.
    Missing,
    /// Every setting holds this text.
    Raw {
        label: &'static str,
        value: &'static str,
    },
}

impl Setting {
    /// For a report.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Tenant(id) => format!("in the context of tenant `{id}`"),
            Self::Odd { label, .. } | Self::Raw { label, .. } => {
                format!("in a context that is {label}")
            }
            Self::Missing => "without a context".to_owned(),
        }
    }
}

/// The users that roles act for, and the defaults that a login brings along.
#[derive(Debug, Clone, Default)]
pub(crate) struct Actors {
    users: HashMap<(Oid, String), String>,
    defaults: HashMap<Oid, Vec<(String, String)>>,
}

impl Actors {
    /// Looks up the users of each role in each tenant, and the settings that
    /// ALTER ROLE and ALTER DATABASE give each login: `SET ROLE` and
    /// `SET SESSION AUTHORIZATION` do not apply them, so contexts do.
    ///
    /// # Errors
    /// When the connection fails; `BadConfig` for a user query that nobody could read. One that
    /// fails otherwise finds no user.
    pub(crate) async fn read(
        conn: &mut PgConnection,
        scope: &Scope,
        tenants: &[String],
        budget: Budget,
    ) -> anyhow::Result<Self> {
        let mut actors = Self::default();
        let mut keys = Vec::new();
        let mut probes = Vec::new();
        for role in &scope.roles {
            let Some(query) = &role.user else { continue };
            for tenant in tenants {
                for within in [false, true] {
                    let mut probe = Probe::new();
                    if within {
                        probe.all(&context(scope, role, tenant, None));
                    }
                    let place = probe.step(Kind::Query, fill(query, tenant, None));
                    probes.push(probe);
                    keys.push((role.oid, tenant.clone(), place));
                }
            }
        }
        let answers = script::run(conn, &probes, budget).await?;
        for ((role, tenant, place), answer) in keys.into_iter().zip(answers) {
            refuse(scope, role, answer.failure.as_ref(), place)?;
            if let Some(user) = answer.text(place) {
                scope.users.found(&tenant, user);
                actors
                    .users
                    .entry((role, tenant))
                    .or_insert_with(|| user.to_owned());
            }
        }
        actors.belonging(conn, scope, budget).await?;
        let sql = include_str!("session_defaults.sql");
        let names: Vec<String> = scope
            .roles
            .iter()
            .map(|role| login(role).as_str().to_owned())
            .collect();
        let rows = sqlx::query(sql).bind(&names).fetch_all(&mut *conn).await?;
        for row in rows {
            let name: String = row.try_get(0)?;
            for role in &scope.roles {
                if login(role).as_str() == name {
                    actors
                        .defaults
                        .entry(role.oid)
                        .or_default()
                        .push((row.try_get(1)?, row.try_get(2)?));
                }
            }
        }
        Ok(actors)
    }

    /// Asks for the other tenants that these users belong to.
    async fn belonging(
        &self,
        conn: &mut PgConnection,
        scope: &Scope,
        budget: Budget,
    ) -> anyhow::Result<()> {
        let Some(query) = scope.memberships.as_deref() else {
            return Ok(());
        };
        let mut asked = Vec::new();
        let mut probes = Vec::new();
        for ((oid, tenant), user) in &self.users {
            let Some(role) = scope.roles.iter().find(|role| role.oid == *oid) else {
                continue;
            };
            let mut probe = Probe::new();
            probe.all(&context(scope, role, tenant, Some(user)));
            let place = probe.step(Kind::Query, fill(query, tenant, Some(user)));
            probes.push(probe);
            asked.push((tenant, place));
        }
        if probes.is_empty() {
            return Ok(());
        }
        let answers = script::run(conn, &probes, budget).await?;
        for ((tenant, place), answer) in asked.into_iter().zip(answers) {
            let others: Option<Vec<Option<String>>> = answer
                .text(place)
                .and_then(|text| serde_json::from_str(text).ok());
            scope
                .users
                .belong(tenant, others.into_iter().flatten().flatten());
        }
        Ok(())
    }

    /// Keeps the users that were found before: keys of rows speak of them.
    pub(crate) fn keep(&mut self, before: Self) {
        self.users.extend(before.users);
    }

    /// The user that this role acts for in this tenant.
    pub(crate) fn user(&self, role: &ActingRole, tenant: &str) -> Option<&str> {
        self.users
            .get(&(role.oid, tenant.to_owned()))
            .map(String::as_str)
    }

    /// Takes the role in the context. Run in a subtransaction.
    pub(crate) fn enter(&self, scope: &Scope, role: &ActingRole, setting: &Setting) -> Vec<String> {
        let mut steps = Vec::new();
        let login = login(role);
        match role.act_as {
            ActAs::SessionAuthorization => {
                steps.push(format!("set local session authorization {login}"));
            }
            ActAs::SetRole => steps.push(format!("set local role {login}")),
            ActAs::Login => {}
        }
        for (name, value) in self.defaults.get(&role.oid).into_iter().flatten() {
            steps.push(set(name, value));
        }
        match setting {
            Setting::Tenant(id) => {
                steps.extend(context(scope, role, id, self.user(role, id)));
            }
            Setting::Odd { value, .. } => steps.extend(context(scope, role, value, None)),
            Setting::Missing => {}
            Setting::Raw { value, .. } => {
                // The server's own settings are no context, and some cannot be set at all.
                let own = scope.settings.iter().filter(|name| name.contains('.'));
                steps.extend(own.map(|name| set(name, value)));
            }
        }
        if login != &role.name && role.act_as != ActAs::Login
            || role.act_as == ActAs::Login && role.login.is_some()
        {
            steps.push(format!("set local role {}", role.name));
        }
        steps
    }
}

/// SQLSTATEs of a text that is wrong whoever asks: syntax, and no such table, column or
/// function. Others come of policies and rights, as a setting that is not there yet.
const UNREADABLE: [&str; 4] = ["42601", "42P01", "42703", "42883"];

/// Refuses a declared query for users that the server cannot even read.
fn refuse(
    scope: &Scope,
    oid: Oid,
    failure: Option<&script::Failure>,
    place: usize,
) -> anyhow::Result<()> {
    let role = scope.roles.iter().find(|role| role.oid == oid);
    let unread = |failure: &&script::Failure| {
        failure.place == place && UNREADABLE.contains(&failure.state.as_str())
    };
    match (role.filter(|role| role.declared), failure.filter(unread)) {
        (Some(role), Some(failure)) => super::config::bad(
            format!(
                "the query `user` of role `{}` fails: {}",
                role.name.as_str(),
                failure.sentence()
            ),
            "it must be one select with one column, for a user of the tenant `:tenant`",
        ),
        _ => Ok(()),
    }
}

/// The session user of a role.
fn login(role: &ActingRole) -> &Ident {
    role.login.as_ref().unwrap_or(&role.name)
}

/// The statements of the context, filled in.
pub(crate) fn context(
    scope: &Scope,
    role: &ActingRole,
    tenant: &str,
    user: Option<&str>,
) -> Vec<String> {
    role.context
        .as_ref()
        .unwrap_or(&scope.context)
        .iter()
        .map(|statement| fill(statement, tenant, user))
        .collect()
}

fn set(name: &str, value: &str) -> String {
    format!(
        "select pg_catalog.set_config({}, {}, true)",
        Literal::new(name),
        Literal::new(value)
    )
}

/// Puts text literals in the place of `:tenant` and `:user`, outside of quotes,
/// comments and casts (`::`).
pub(crate) fn fill(sql: &str, tenant: &str, user: Option<&str>) -> String {
    let user = user.map_or_else(|| "''".to_owned(), |id| Literal::new(id).to_string());
    let tenant = Literal::new(tenant).to_string();
    let mut out = String::with_capacity(sql.len() + tenant.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' | '"' => quoted(rest, first),
            ':' if rest.starts_with("::") => 2,
            ':' => {
                let name = rest[1..]
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .map_or(rest.len(), |end| end + 1);
                match &rest[1..name] {
                    "tenant" => out.push_str(&tenant),
                    "user" => out.push_str(&user),
                    _ => out.push_str(&rest[..name]),
                }
                rest = &rest[name..];
                continue;
            }
            _ => first.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// The placeholder that stands within a quoted text, where [`fill`] leaves it alone.
pub(crate) fn between_quotes(sql: &str) -> Option<&'static str> {
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' | '"' => quoted(rest, first),
            _ => first.len_utf8(),
        };
        let token = &rest[..taken];
        if first == '\''
            && let Some(name) = ["tenant", "user"]
                .into_iter()
                .find(|name| stands(token, name))
        {
            return Some(name);
        }
        rest = &rest[taken..];
    }
    None
}

/// Whether a text holds this placeholder as a word of its own.
fn stands(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    text.match_indices(&format!(":{name}")).any(|(at, found)| {
        !text[..at].ends_with(part) && !text[at + found.len()..].starts_with(part)
    })
}

/// The length of the quoted token that `text` begins with.
pub(crate) fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => {
                    characters.next();
                }
                _ => return at + quote.len_utf8(),
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_outside_of_quotes_are_filled() {
        assert_eq!(
            fill(
                "select f(:tenant::uuid, ':tenant', \":user\", :user, a::text, :tenants)",
                "o'x",
                Some("u")
            ),
            "select f('o''x'::uuid, ':tenant', \":user\", 'u', a::text, :tenants)"
        );
        assert_eq!(fill("set x = :tenant", "1", None), "set x = '1'");
        assert_eq!(between_quotes("set x = ':tenant'"), Some("tenant"));
        assert_eq!(
            between_quotes("set x = '{\"sub\": \":user\"}'"),
            Some("user")
        );
        for plain in [
            "set x = :tenant",
            "select f(:tenant, 'urn:tenant', ':tenants', '::user', \":user\")",
        ] {
            assert_eq!(between_quotes(plain), None, "{plain}");
        }
        assert_eq!(
            fill("'it''s :tenant' :tenant", "1", None),
            "'it''s :tenant' '1'"
        );
    }
}
