//! `kinedb.toml`: what the user tells about the schema.
//!
//! Reads and validates the file's own form; names are resolved against the
//! catalogue by `scope`. Every wrong key or value is a [`Fault`] that names the
//! line and what to write instead.

mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::model::{ActAs, ExceptionKind, RoleScope};
use crate::fault::{Code, Fault};

/// A whole `kinedb.toml`; the default value means that everything is detected.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it was read from; none where there is no file.
    #[serde(skip)]
    pub path: Option<PathBuf>,
    /// How tenants are kept apart.
    pub isolation: Isolation,
}

/// The table `[isolation]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Isolation {
    /// Column names that hold the tenant; the first that a table has is its key.
    pub tenant_columns: Vec<String>,
    /// A query for the ids, or the ids.
    pub tenants: Option<TenantSource>,
    /// Statements that put a session into a tenant's context.
    pub context: Vec<String>,
    /// `deny`, `none` or `tenant:<id>`.
    pub no_context: Option<String>,
    /// Schemas to look at; all but system schemas where empty.
    pub schemas: Vec<String>,
    /// What single tables need beyond that.
    pub table: BTreeMap<String, Table>,
    /// Roles that the application acts as.
    pub role: Vec<Role>,
    /// Tables whose rows never change.
    pub append_only: AppendOnly,
    /// Columns that no role may read.
    pub sensitive: Sensitive,
    /// Ids of checks whose warnings and notes count as errors.
    pub strict: Vec<String>,
    /// What is meant to differ from the rules.
    pub exception: Vec<Exception>,
}

/// Where tenant ids come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum TenantSource {
    /// A query with one column.
    Query(String),
    /// The ids themselves.
    List(Vec<Id>),
}

/// An id in a list, as text or as a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::Text(text) => f.write_str(text),
            Id::Number(number) => write!(f, "{number}"),
        }
    }
}

/// `[isolation.table.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// The column that holds the tenant.
    pub tenant_column: Option<String>,
    /// The table it is owned through.
    pub parent: Option<String>,
    /// An expression that gives the tenant as text.
    pub tenant: Option<String>,
    /// A predicate that says whose row it is.
    pub owns: Option<String>,
    /// Which own rows are meant to be seen.
    pub visible: Option<String>,
}

/// `[[isolation.role]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// The role acted as.
    pub name: Option<String>,
    /// A query (with `:tenant`) for the role of a tenant.
    pub query: Option<String>,
    /// The session user, where it is another role.
    pub login: Option<String>,
    /// `env:NAME` or a URL.
    pub url: Option<String>,
    /// How probes become it.
    #[serde(rename = "as")]
    pub act_as: Option<ActAs>,
    /// Its own way into a context.
    pub context: Option<Vec<String>>,
    /// A query for a user inside the tenant.
    pub user: Option<String>,
    /// What it is meant to reach.
    pub scope: Option<RoleScope>,
    /// Columns that a role of scope `all` may read.
    pub columns: Vec<String>,
    /// Why, for every scope but `tenant`.
    pub reason: String,
}

/// `[isolation.append_only]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppendOnly {
    /// Table names.
    pub tables: Vec<String>,
}

/// `[isolation.sensitive]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sensitive {
    /// `table.column`.
    pub columns: Vec<String>,
}

/// `[[isolation.exception]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Table, view, function (with argument types) or role.
    pub object: String,
    /// What is excepted.
    pub kind: ExceptionKind,
    /// Only these rows.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Only for this role.
    pub role: Option<String>,
    /// Why.
    pub reason: String,
    /// The last day it holds.
    pub until: Option<toml::value::Datetime>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// `BadConfig` with the line where the file is not as it must be, `BadFile` where it cannot be read.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| {
                Fault::new(
                    Code::BadFile,
                    format!("cannot read `{}`: {error}", path.display()),
                )
                .hint("name one that can be read with `--config FILE`; without any, kinedb detects what it can: kinedb verify-rls")
            })
            .context("reading the configuration")?;
        let mut config = Self::parse(&text).with_context(|| format!("in `{}`", path.display()))?;
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// `BadConfig` with line and hint.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        config.validate()?;
        Ok(config)
    }
}

impl Role {
    /// The URL, with `env:NAME` looked up.
    ///
    /// # Errors
    /// `BadConfig` where the variable is not set. The URL is never part of a message.
    pub fn resolved_url(&self) -> anyhow::Result<Option<String>> {
        match self
            .url
            .as_deref()
            .map(|url| (url, url.strip_prefix("env:")))
        {
            None => Ok(None),
            Some((url, None)) => Ok(Some(url.to_owned())),
            Some((_, Some(variable))) => match std::env::var(variable) {
                Ok(url) => Ok(Some(url)),
                Err(_) => bad(
                    format!("`url` names the variable `{variable}`, which is not set"),
                    format!("export {variable}=postgres://..."),
                ),
            },
        }
    }
}

/// `Err` of a `BadConfig` with a hint.
pub(crate) fn bad<T>(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
    crate::fault::fail(Code::BadConfig, message, hint)
}

fn explain(text: &str, error: &toml::de::Error) -> Fault {
    let line = error.span().map_or(1, |span| {
        1 + text.get(..span.start).unwrap_or(text).matches('\n').count()
    });
    let message = error.message().lines().next().unwrap_or_default().trim();
    let mut names = message.split('`').skip(1).step_by(2);
    let fault = Fault::new(Code::BadConfig, format!("line {line}: {message}"));
    if !message.starts_with("unknown ") {
        return fault.hint("the configuration reference shows the form of every key");
    }
    let wrong = names.next().unwrap_or_default().to_owned();
    match nearest(&wrong, names) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("the message lists what can stand here"),
    }
}

/// The candidate that is at most a third of its letters away.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let value = (corner + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            corner = *cell;
            *cell = value;
            left = value;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> (String, String) {
        let error = Config::parse(text).unwrap_err();
        let fault = Fault::of(&error).unwrap();
        (
            fault.to_string(),
            fault.hint_text().unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn unknown_keys_name_line_and_neighbour() {
        let (what, hint) = message("[isolation]\ntenat_columns = []\n");
        assert!(
            what.starts_with("line 2: unknown field `tenat_columns`"),
            "{what}"
        );
        assert_eq!(hint, "did you mean `tenant_columns`?");
        let (what, hint) = message("[[isolation.role]]\nname = \"a\"\nscpe = \"all\"\n");
        assert!(what.starts_with("line 3"), "{what}");
        assert_eq!(hint, "did you mean `scope`?");
        let (what, hint) = message(
            "[[isolation.exception]]\nobject = \"x\"\nkind = \"global-reed\"\nreason = \"r\"\n",
        );
        assert!(what.contains("global-reed"), "{what}");
        assert_eq!(hint, "did you mean `global-read`?");
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for text in [
            "[isolation]\ntenants = [1]",
            "[isolation]\ncontext = [\"select 1\"]",
            "[isolation]\ncontext = [\"set x.y = ':tenant'\"]",
            "[isolation.table.a]\nowns = \"x = ':tenant'\"",
            "[[isolation.role]]\nname = \"a\"\nuser = \"select id from u where t = ':tenant'\"",
            "[isolation]\nno_context = \"open\"",
            "[isolation]\nstrict = [\"rls-not-force\"]",
            "[isolation.table.a]\nparent = \"b\"\nowns = \"x = :tenant\"",
            "[[isolation.role]]\nlogin = \"a\"",
            "[[isolation.role]]\nname = \"a\"\nscope = \"trusted\"",
            "[[isolation.role]]\nname = \"a\"\ncolumns = [\"a.b\"]",
            "[[isolation.exception]]\nobject = \"a\"\nkind = \"global-read\"\nreason = \" \"",
            "[[isolation.exception]]\nobject = \"a\"\nkind = \"global-read\"\nreason = \"r\"\nwhere = \"x\"",
            "[[isolation.exception]]\nobject = \"a\"\nkind = \"global-read\"\nreason = \"r\"\nuntil = 10:00:00",
            "isolation = 1",
        ] {
            let error = Config::parse(text).expect_err(text);
            assert_eq!(
                Fault::of(&error).map(Fault::code),
                Some(Code::BadConfig),
                "{text}"
            );
        }
    }

    const DOCUMENT: &str = include_str!("../../docs/configuration.md");

    #[test]
    fn the_examples_of_the_document_are_one_configuration() {
        let blocks: Vec<&str> = DOCUMENT
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .filter(|block| !block.starts_with("[[known]]"))
            .collect();
        for block in &blocks {
            Config::parse(block).unwrap_or_else(|error| panic!("{error:#} in\n{block}"));
        }
        let (reference, _) = DOCUMENT.split_once("## Common stacks").unwrap();
        let keys = reference.matches("```toml\n[isolation").count()
            + reference.matches("```toml\n[[isolation").count();
        let whole = Config::parse(&blocks[..keys].join("\n")).unwrap();
        assert_eq!(
            (whole.isolation.table.len(), whole.isolation.role.len()),
            (4, 3)
        );
    }

    #[test]
    fn the_document_describes_every_key_and_value() {
        for text in [
            "[isolation]\nnone = 1",
            "[isolation.table.a]\nnone = 1",
            "[[isolation.role]]\nnone = 1",
            "[[isolation.role]]\nscope = \"none\"",
            "[[isolation.role]]\nas = \"none\"",
            "[isolation.append_only]\nnone = 1",
            "[isolation.sensitive]\nnone = 1",
            "[[isolation.exception]]\nnone = 1",
            "[[isolation.exception]]\nobject = \"a\"\nreason = \"r\"\nkind = \"none\"",
        ] {
            // The message lists what could have stood there.
            let (said, _) = message(text);
            for key in said.split('`').skip(3).step_by(2) {
                assert!(
                    DOCUMENT.contains(&format!("`{key}`"))
                        || DOCUMENT.contains(&format!("[isolation.{key}"))
                        || DOCUMENT.contains(&format!("[[isolation.{key}")),
                    "`{key}` is not described"
                );
            }
        }
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = Config::parse(
            "[isolation]\ntenants = [1, \"b\"]\n[isolation.table.'\"My App\".\"Order\"']\ntenant = \"x\"\n\
             [[isolation.role]]\nname = \"a\"\nas = \"session-authorization\"\nscope = \"shared\"\nreason = \"r\"\n\
             [[isolation.exception]]\nobject = \"x\"\nkind = \"shared-rows\"\nwhere = \"a\"\nreason = \"r\"\nuntil = 2027-01-01\n",
        )
        .unwrap();
        assert_eq!(
            config.isolation.role[0].act_as,
            Some(ActAs::SessionAuthorization)
        );
        assert_eq!(
            config.isolation.exception[0].until.unwrap().to_string(),
            "2027-01-01"
        );
    }
}
