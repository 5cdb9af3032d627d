//! What nobody else can read at the moment, because a session holds it: left out
//! and told, so that one lock does not keep all the rest from being proven.
//!
//! Even the catalogue prints an expression only after it locked every relation that
//! the expression speaks of, so such relations must be known before it is read.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context as _;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid as PgOid;

use super::explain;
use super::finding::{Access, Action, Evidence, Finding, Outcome, Severity, Source, Verdict};
use super::model::{Oid, Options, RoleScope, Scope};
use crate::db::error;
use crate::fault::{Code, Fault};

/// Relations and functions that are left out, each with the reason.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Held {
    relations: BTreeMap<Oid, Why>,
    #[serde(skip)]
    functions: HashSet<Oid>,
}

/// Which lock is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Why {
    /// The relation that is locked.
    root: Oid,
    /// Who locked it, as `session 4711 (psql) holds`.
    who: String,
}

impl Held {
    /// Whether anything is left out.
    pub(crate) fn any(&self) -> bool {
        !self.relations.is_empty()
    }

    /// Whether a relation is left out.
    pub(crate) fn relation(&self, oid: Oid) -> bool {
        self.relations.contains_key(&oid)
    }

    /// The relations, for the server.
    pub(crate) fn relations(&self) -> Vec<PgOid> {
        self.relations.keys().map(|oid| PgOid(*oid)).collect()
    }

    /// The functions, for the server.
    pub(crate) fn functions(&self) -> Vec<PgOid> {
        self.functions.iter().map(|oid| PgOid(*oid)).collect()
    }

    /// Names who is in the way of what cannot be left out: a query of the configuration, say.
    pub(crate) fn blame(&self, cause: anyhow::Error) -> anyhow::Error {
        let Some(why) = self.relations.values().find(|_| waited(&cause)) else {
            return cause;
        };
        Fault::new(
            Code::Locked,
            format!("{cause} waits for a lock: {} ACCESS EXCLUSIVE", why.who),
        )
        .hint("run it again when the lock is gone, or wait longer with `--lock-timeout 30s`")
        .into()
    }

    /// Adds what is locked now; tells whether that is more than was known.
    ///
    /// # Errors
    /// Whatever the connection says.
    pub(crate) async fn look(&mut self, conn: &mut PgConnection) -> anyhow::Result<bool> {
        let rows: Vec<(bool, PgOid, PgOid, String)> = sqlx::query_as(include_str!("held.sql"))
            .persistent(false)
            .fetch_all(conn)
            .await
            .context("asking who holds a lock")?;
        let before = self.relations.len() + self.functions.len();
        for (relation, oid, root, who) in rows {
            if relation {
                let why = Why { root: root.0, who };
                self.relations.entry(oid.0).or_insert(why);
            } else {
                self.functions.insert(oid.0);
            }
        }
        Ok(self.relations.len() + self.functions.len() > before)
    }
}

/// Whether this says that a lock was not had in time.
pub(crate) fn waited(cause: &anyhow::Error) -> bool {
    error::server_error(cause).is_some_and(|told| told.code() == "55P03")
}

/// Says of what was left out that it is not proven, wherever a role has rights on it.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn tell(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let acting = || {
        scope
            .roles
            .iter()
            .filter(|role| role.scope != RoleScope::Trusted)
    };
    let Some(entry) = explain::explain("not-exercised").filter(|_| scope.held.any()) else {
        return Ok(());
    };
    let roles: Vec<PgOid> = acting().map(|role| PgOid(role.oid)).collect();
    let rights: Vec<(PgOid, PgOid)> = sqlx::query_as(
        "select c.oid, r.oid from unnest($1::oid[]) r(oid) cross join unnest($2::oid[]) h(oid) \
         join pg_catalog.pg_class c on c.oid = h.oid \
         where pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE') \
         and (pg_catalog.has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE') \
         or pg_catalog.has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE'))",
    )
    .bind(roles)
    .bind(scope.held.relations())
    .persistent(false)
    .fetch_all(conn)
    .await
    .context("asking who may reach what is locked")?;
    let mut reached: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for (relation, role) in rights {
        reached.entry(relation.0).or_default().push(role.0);
    }
    let label = |oid: Oid| {
        scope
            .relation(oid)
            .map_or_else(|| oid.to_string(), |relation| relation.label.clone())
    };
    for (oid, why) in &scope.held.relations {
        let (Some(relation), Some(by)) = (scope.relation(*oid), reached.get(oid)) else {
            continue;
        };
        let millis = options.lock_timeout.as_millis();
        let whose = if why.root == *oid {
            String::new()
        } else {
            format!("it reads `{}`, which is locked: ", label(why.root))
        };
        let detail = format!(
            "{whose}lock_timeout ({millis} ms) passed before it could be read: {} ACCESS EXCLUSIVE",
            why.who
        );
        let roles = acting().filter(|role| by.contains(&role.oid));
        outcome.evidence.extend(roles.flat_map(|role| {
            [
                Action::Select,
                Action::Insert,
                Action::Update,
                Action::Delete,
            ]
            .map(|action| Evidence {
                object: relation.label.clone(),
                role: role.name.as_str().to_owned(),
                action,
                access: Access::Unproven,
                source: Source::Catalogue,
                detail: detail.clone(),
            })
        }));
        outcome.findings.push(Finding {
            id: entry.id.to_owned(),
            severity: Severity::Error,
            verdict: Verdict::Unproven,
            object: relation.label.clone(),
            role: None,
            action: None,
            title: entry.title.clone(),
            detail,
            fix: "Run it again when the lock is gone, or wait longer with `--lock-timeout 30s`."
                .to_owned(),
            reproduce: None,
        });
    }
    Ok(())
}
