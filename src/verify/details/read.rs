//! Reading the details: in one statement, in two sessions, or only those that stand
//! near a few relations.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::postgres::types::Oid as PgOid;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::oneshot;

use super::Details;
use crate::db::ident::Literal;
use crate::verify::focus::Focus;
use crate::verify::model::{ActingRole, Oid, Options, Scope};
use crate::verify::near;
use crate::verify::session::{PATIENT, PLAIN};

const LINKS: &str = include_str!("links.sql");
const SHAPE: &str = include_str!("shape.sql");
const RIGHTS: &str = include_str!("rights.sql");

/// Links and shape of all relations, as text: what can be read before the scope is known.
#[derive(Debug)]
pub(crate) struct Early(String);

impl Early {
    /// Reads it in a session that does nothing else, in a transaction of its own.
    ///
    /// # Errors
    /// When the catalogue cannot be read; whoever needs it asks again.
    pub(crate) async fn read(conn: &mut PgConnection, options: &Options) -> anyhow::Result<Self> {
        let begin = format!(
            "begin transaction read only; {PATIENT}; {PLAIN}; set local statement_timeout = {}; set local lock_timeout = {}",
            options.statement_timeout.as_millis().max(1),
            options.lock_timeout.as_millis().max(1)
        );
        sqlx::raw_sql(AssertSqlSafe(begin))
            .execute(&mut *conn)
            .await?;
        let text = ask(conn, &Of::All, options, &[LINKS, SHAPE]).await;
        sqlx::raw_sql("rollback").execute(conn).await?;
        text.map(Self)
    }
}

impl Details {
    /// Reads it for the relations, roles and functions of the scope. Where a few
    /// relations are asked about, types and rights only of those that stand near them.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) async fn read(
        conn: &mut PgConnection,
        scope: &Scope,
        options: &Options,
    ) -> anyhow::Result<Arc<Self>> {
        let Some(near) = near::relations(conn, scope, options).await? else {
            let of = Of::Scope(scope, None);
            let text = ask(conn, &of, options, &[LINKS, SHAPE, RIGHTS]).await?;
            return understand(&text, scope).map(Arc::new);
        };
        let text = ask(conn, &Of::Scope(scope, None), options, &[LINKS]).await?;
        let links = understand(&text, scope)?;
        let focus = Focus::of(scope, &links, options.only.as_deref());
        let of = Of::Scope(scope, Some(focus.and(near)));
        let rest = ask(conn, &of, options, &[SHAPE, RIGHTS]).await?;
        understand(&joined(&text, &rest), scope).map(Arc::new)
    }

    /// The same, while another session reads a part of it. What that read too early, or
    /// could not, is asked for here.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) async fn read_beside(
        conn: &mut PgConnection,
        scope: &Scope,
        options: &Options,
        beside: oneshot::Receiver<Early>,
    ) -> anyhow::Result<Arc<Self>> {
        let rights = ask(conn, &Of::Scope(scope, None), options, &[RIGHTS]).await?;
        if let Ok(Early(early)) = beside.await {
            let details = understand(&joined(&early, &rights), scope)?;
            // A table that was made since then has no columns there.
            let whole = scope.relations.iter().all(|relation| {
                scope.held.relation(relation.oid)
                    || details.columns_of(relation.oid).next().is_some()
            });
            if whole {
                return Ok(Arc::new(details));
            }
        }
        let late = ask(conn, &Of::Scope(scope, None), options, &[LINKS, SHAPE]).await?;
        understand(&joined(&late, &rights), scope).map(Arc::new)
    }
}

/// Whose details are asked for.
enum Of<'a> {
    /// All that there is.
    All,
    /// Those of a scope, or of some relations of it.
    Scope(&'a Scope, Option<HashSet<Oid>>),
}

/// Asks for parts of the details in one statement.
async fn ask(
    conn: &mut PgConnection,
    of: &Of<'_>,
    options: &Options,
    parts: &[&str],
) -> anyhow::Result<String> {
    // With an empty path every name in a deparsed expression is qualified. A plan
    // that is kept is made once, whatever the lists hold.
    let (path, mode, ..): (String, String, String, String) = sqlx::query_as(
        "select current_setting('search_path'), current_setting('plan_cache_mode'), \
         set_config('search_path', '', true), set_config('plan_cache_mode', 'force_generic_plan', true)",
    )
    .persistent(options.keep_plans)
    .fetch_one(&mut *conn)
    .await?;
    let (relations, roles, functions) = match of {
        Of::All => (None, None, None),
        Of::Scope(scope, some) => {
            let all = scope.relations.iter().chain(&scope.outside);
            let all = all.map(|relation| relation.oid);
            let wanted = all.filter(|oid| {
                some.as_ref().is_none_or(|some| some.contains(oid)) && !scope.held.relation(*oid)
            });
            let reach = |role: &ActingRole| role.reach.iter().copied().chain([role.oid]).collect();
            (
                Some(oids(wanted)),
                Some(oids(scope.roles.iter().flat_map::<Vec<Oid>, _>(reach))),
                Some(oids(scope.functions.iter().map(|function| function.oid))),
            )
        }
    };
    // As text that is put together here: building jsonb costs the server more than all
    // that it reads for it.
    let texts: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "select array[({})::text]",
        parts.join(")::text, (")
    )))
    .bind(relations)
    .bind(roles)
    .bind(functions)
    .persistent(options.keep_plans)
    .fetch_one(&mut *conn)
    .await
    .context("reading types, constraints and grants")?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "select set_config('search_path', {}, true), set_config('plan_cache_mode', {}, true)",
        Literal::new(path),
        Literal::new(mode)
    )))
    .execute(conn)
    .await?;
    texts
        .into_iter()
        .reduce(|one, other| joined(&one, &other))
        .context("no part of the catalogue's details was asked for")
}

/// Each once, for the server.
fn oids(list: impl Iterator<Item = Oid>) -> Vec<PgOid> {
    let all: BTreeSet<Oid> = list.collect();
    all.into_iter().map(PgOid).collect()
}

/// Two objects that were read apart as one.
fn joined(one: &str, other: &str) -> String {
    let left = one.trim_end().strip_suffix('}').unwrap_or(one);
    let right = other.trim_start().strip_prefix('{').unwrap_or(other);
    format!("{left},{right}")
}

fn understand(text: &str, scope: &Scope) -> anyhow::Result<Details> {
    let mut details: Details = serde_json::from_str(text).context("understanding the catalogue")?;
    let inside: HashSet<Oid> = scope
        .relations
        .iter()
        .chain(&scope.outside)
        .map(|relation| relation.oid)
        .collect();
    details.columns.retain(|one| inside.contains(&one.relation));
    details
        .references
        .retain(|one| inside.contains(&one.relation));
    details.uniques.retain(|one| inside.contains(&one.relation));
    details.uses.retain(|(view, _)| inside.contains(view));
    for (index, column) in details.columns.iter().enumerate() {
        details
            .by_relation
            .entry(column.relation)
            .or_default()
            .push(index);
    }
    for (index, grant) in details.grants.iter().enumerate() {
        details.by_grant.insert((grant.role, grant.relation), index);
    }
    details.narrow();
    Ok(details)
}
