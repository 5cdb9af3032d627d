//! Makes the [`Scope`]: one snapshot of the catalogue, names resolved, gaps in
//! the configuration filled by detection, every assumption written down.
//!
//! Reads only the catalogue and the tenants' ids; decides nothing.

mod admits;
mod assigned;
mod body;
pub(crate) mod brackets;
mod changes;
mod columns;
mod commands;
mod declared;
pub(crate) mod detect;
pub(crate) mod documents;
pub(crate) mod entry;
mod exceptions;
mod joins;
pub(crate) mod lexer;
mod lineage;
mod lists;
mod loose;
mod members;
mod mistaken;
mod names;
mod policies;
mod predicate;
mod query;
mod ranks;
mod raw;
mod relations;
mod roles;
mod rows;
mod second;
mod sends;
mod sharing;
mod spreads;
pub(crate) mod strays;
mod switches;
mod tenants;
mod users;

use std::collections::{BTreeSet, HashSet};
use std::sync::OnceLock;

use anyhow::Context as _;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

pub(crate) use self::exceptions::{excepted, names_object};
pub(crate) use self::names::split_column;
use self::raw::Snapshot;
use super::config::{Config, Isolation, bad};
use super::held::Held;
use super::model::{Function, NoContext, Oid, Options, Policy, Scope, Verifier};
use super::session::{PATIENT, PLAIN};
use crate::db::ident::{Ident, Literal, Qualified};

/// Loads the scope in one short read-only transaction, or under a savepoint
/// where the connection is inside a transaction already.
///
/// # Errors
/// `BadConfig` for names and queries that the database does not know.
pub async fn load(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    held: &Held,
) -> anyhow::Result<Scope> {
    let (begin, end) = if options.in_transaction {
        (
            "savepoint kinedb_scope".to_owned(),
            "rollback to savepoint kinedb_scope; release savepoint kinedb_scope",
        )
    } else {
        (
            format!("begin isolation level repeatable read, read only; {PATIENT}"),
            "rollback",
        )
    };
    conn.execute(AssertSqlSafe(begin))
        .await
        .context("opening the snapshot")?;
    let scope = within(conn, config, options, held).await;
    conn.execute(end).await.context("closing the snapshot")?;
    scope
}

async fn within(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    held: &Held,
) -> anyhow::Result<Scope> {
    let isolation = &config.isolation;
    let path: String = sqlx::query_scalar("select pg_catalog.current_setting('search_path')")
        .fetch_one(&mut *conn)
        .await?;
    let timeout = options.statement_timeout.as_millis();
    conn.execute(AssertSqlSafe(format!(
        "{PLAIN}; set local search_path = ''; set local statement_timeout = {timeout}"
    )))
    .await?;
    let Json(snapshot): Json<Snapshot> = sqlx::query_scalar(include_str!("snapshot.sql"))
        .bind(held.relations())
        .bind(held.functions())
        .persistent(options.keep_plans)
        .fetch_one(&mut *conn)
        .await
        .context("reading the catalogue")?;
    conn.execute(AssertSqlSafe(format!(
        "select pg_catalog.set_config('search_path', {}, true)",
        Literal::new(path)
    )))
    .await?;

    let schemas = schemas(&snapshot, isolation)?;
    let mut assumptions = Vec::new();
    let (mut dictionary, bodies) = policies::bodies(&snapshot);
    let mut policies = policies::policies(&snapshot, &dictionary, &bodies);
    entry::name_users(isolation, &mut policies);
    let untold = isolation.tenant_columns.is_empty()
        && isolation.context.is_empty()
        && isolation.role.iter().all(|role| role.context.is_none());
    let mut columns = isolation.tenant_columns.clone();
    if columns.is_empty() {
        columns = detect::tenant_columns(&snapshot, &policies);
        detect::keep_alike(&snapshot, &policies, &mut columns);
    }
    if untold {
        let table = detect::tenant_table(&snapshot, &columns);
        dictionary.users = users::told(
            &snapshot,
            &policies,
            &bodies,
            &columns,
            table.as_ref(),
            &dictionary.settings,
        );
        if !dictionary.users.is_empty() {
            let names: BTreeSet<String> = dictionary.users.iter().cloned().collect();
            assumptions.push(format!(
                "{} tells who the user is: it is compared with rows that say who belongs to which tenant",
                list(&names.into_iter().collect::<Vec<_>>())
            ));
            policies = policies::policies(&snapshot, &dictionary, &bodies);
            columns = detect::tenant_columns(&snapshot, &policies);
            detect::keep_alike(&snapshot, &policies, &mut columns);
        }
    }
    mistaken::columns(&snapshot, &schemas, isolation)?;
    let second = untold
        .then(|| second::Second::find(&snapshot, &policies, &columns))
        .flatten();
    if let Some(second) = &second {
        columns.retain(|column| *column != second.column);
        assumptions.push(format!(
            "within a tenant a session is in a place, told by `{}`, which policies compare with `{}`",
            second.setting, second.column
        ));
    }
    let by_name = assigned::role_column(
        &snapshot,
        &policies,
        &bodies,
        detect::tenant_table(&snapshot, &columns).as_ref(),
    )
    .filter(|_| isolation.role.is_empty() && isolation.no_context.is_none());
    if isolation.tenant_columns.is_empty() {
        columns.retain(|column| Some(column) != by_name.as_ref());
    }
    if isolation.tenant_columns.is_empty() && !columns.is_empty() {
        assumptions.push(format!(
            "the tenant is held by columns named {}: policies compare them with the session",
            list(&columns)
        ));
    }
    let table = detect::tenant_table(&snapshot, &columns);
    let exceptions = exceptions::exceptions(isolation, &snapshot.today);
    let all = relations::build(&relations::Input {
        snapshot: &snapshot,
        isolation,
        schemas: &schemas,
        columns: &columns,
        policies: &policies,
        table: table.as_ref(),
        exceptions: &exceptions,
        second: second.as_ref(),
    })?;
    let (mut relations, outside): (Vec<_>, Vec<_>) = all.into_iter().partition(|relation| {
        schemas
            .iter()
            .any(|name| name == relation.name.schema.as_str())
    });
    assumptions.extend(sharing::apply(
        &snapshot,
        &mut relations,
        &policies,
        &bodies,
        &exceptions,
    ));
    policies::shared_rows(&mut policies, &relations);
    let acting = roles::acting(&snapshot, isolation, &schemas)?;
    assumptions.extend(acting.assumptions);
    let mut roles = acting.roles;

    let read: BTreeSet<String> = policies
        .iter()
        .flat_map(Policy::predicates)
        .flat_map(|predicate| predicate.settings.iter().cloned())
        .collect();
    let look_ups = ranks::LookUps::of(&snapshot, &bodies, &dictionary.users);
    let everywhere = ranks::everywhere(&look_ups, &mut policies, &relations, &bodies);
    if !everywhere.is_empty() {
        let ranks: Vec<String> = everywhere.iter().cloned().collect();
        assumptions.push(format!(
            "whoever bears one of {} is of the platform and sees every tenant: it stands in a list that belongs to none",
            list(&ranks)
        ));
    }
    let platform = ranks::lists(
        &look_ups,
        &policies,
        &relations,
        &bodies,
        &snapshot.references,
    );
    for relation in relations.iter().filter(|one| platform.contains(&one.oid)) {
        assumptions.push(format!(
            "who stands in `{}` is of the platform and sees every tenant: no user of a tenant does",
            relation.label
        ));
    }
    let mut found = members::Members::find(
        &relations,
        &policies,
        &bodies,
        &columns,
        &snapshot.references,
        &everywhere,
        &look_ups,
    );
    if let Some(members) = &mut found {
        members.own_by_subject(&mut relations);
        let below = tenants::above(
            &relations,
            &snapshot.references,
            &policies,
            &bodies,
            table.as_ref(),
        );
        if let Some((registry, key, above)) = below {
            members.with_below(&registry.name, &key, above);
            assumptions.push(format!(
                "who belongs to a tenant sees those that stand below it by `{}.{above}`: policies go that way",
                registry.label
            ));
        }
    }
    let mut context = isolation.context.clone();
    let mut visiting = None;
    let mut users = false;
    if context.is_empty()
        && isolation.role.iter().all(|role| role.context.is_none())
        && isolation.no_context.as_deref() != Some("none")
    {
        let texts: Vec<&str> = snapshot
            .policies
            .iter()
            .flat_map(|policy| {
                policy
                    .using
                    .as_deref()
                    .into_iter()
                    .chain(policy.check.as_deref())
            })
            .chain(snapshot.functions.iter().filter_map(|function| {
                let reads = bodies
                    .get(&function.oid)
                    .is_some_and(|body| body.settings.iter().any(|name| read.contains(name)));
                function.source.as_deref().filter(|_| reads)
            }))
            .collect();
        let demands: Vec<&str> = snapshot
            .policies
            .iter()
            .filter(|policy| !policy.permissive)
            .flat_map(|policy| policy.using.iter().chain(&policy.check))
            .map(String::as_str)
            .collect();
        let accessors: Vec<&str> = snapshot
            .functions
            .iter()
            .filter(|function| !function.arguments.is_empty())
            .filter(|function| function.source.as_deref().is_some_and(entry::hands_out))
            .map(|function| function.name.as_str())
            .collect();
        let entry = entry::Entry {
            settings: &read,
            texts: &texts,
            demands: &demands,
            accessors: &accessors,
            members: found.is_some(),
            second: second.as_ref().map(|second| second.setting.as_str()),
            columns: &columns,
            table: table.as_ref(),
            policies: &policies,
            readers: &dictionary.settings,
            users: &dictionary.users,
            kind: detect::kind(&snapshot, &columns),
        };
        context = entry.tenant();
        users = entry.of_users();
        visiting = Some(entry.visitor());
        if !context.is_empty() {
            assumptions.push(format!(
                "a session enters a tenant by {}: policies read that",
                list(&context)
            ));
        }
    }
    let visiting = visiting.unwrap_or_else(|| {
        let nobodys = |statement: &&String| {
            super::session::fill(statement, "", None)
                == super::session::fill(statement, "x", Some("x"))
        };
        context.iter().filter(nobodys).cloned().collect()
    });
    assigned::visitors(
        &policies,
        &relations,
        &visiting,
        &mut roles,
        &mut assumptions,
    );
    let by_user = context
        .iter()
        .chain(
            roles
                .iter()
                .filter_map(|role| role.context.as_ref())
                .flatten(),
        )
        .any(|statement| statement.contains(":user"));
    if let Some(members) = found.as_ref().filter(|_| by_user && !users) {
        let people = members.own_people(&mut relations, &snapshot.references);
        assumptions.extend(people.iter().map(|label| {
            format!("a row of `{label}` is a person's, who belongs to tenants by memberships")
        }));
    }
    let members = if users {
        Some(members::Members::themselves())
    } else {
        found
    };
    let needs_user = |role: &super::model::ActingRole| {
        let own = role.context.as_ref().unwrap_or(&context);
        role.user.is_none()
            && role.scope == super::model::RoleScope::Tenant
            && own.iter().any(|statement| statement.contains(":user"))
    };
    if roles.iter().any(needs_user)
        && let Some(query) = second
            .map(|second| second.query)
            .or_else(|| members.as_ref().map(|members| members.query.clone()))
    {
        assumptions.push(format!("a user of a tenant is found by `{query}`"));
        for role in &mut roles {
            if needs_user(role) {
                role.user = Some(query.clone());
            }
        }
    }
    let role_contexts: Vec<String> = roles
        .iter()
        .flat_map(|role| role.context.iter().flatten().cloned())
        .collect();
    // A switch that was concluded is held off, and who turns it on is in no context.
    let told: Vec<String> = context
        .iter()
        .filter(|statement| !isolation.context.is_empty() || !entry::is_off(statement))
        .chain(&role_contexts)
        .cloned()
        .collect();
    let mut context_settings = entry::settings_of(&told);
    // A function that enters the tenant sets them for its caller.
    let entered = entry::called_by(&told);
    let entering = snapshot.functions.iter();
    for function in entering.filter(|function| entered.contains(&function.name)) {
        if let Some(body) = bodies.get(&function.oid) {
            context_settings.extend(body.sets.iter().chain(&body.session_sets).cloned());
        }
    }
    context_settings.sort_unstable();
    context_settings.dedup();
    let settings: BTreeSet<String> = read
        .into_iter()
        .chain(context_settings.iter().cloned())
        .collect();

    let detected = tenants::query(&relations, table.as_ref());
    let mut tenants =
        tenants::load(conn, isolation, options, detected, !snapshot.user.unbound).await?;
    tenants.table = table.map(|(oid, name)| (oid, Ident::new(name)));
    let registry = tenants
        .table
        .as_ref()
        .and_then(|(oid, _)| relations.iter().find(|relation| relation.oid == *oid));
    tenants::lowest_first(conn, &mut tenants, registry).await?;
    tenants.absent = tenants::are_absent(conn, isolation, !snapshot.user.unbound, registry).await?;
    if isolation.tenants.is_some() {
        mistaken::ids(&relations, &tenants)?;
    }
    if isolation.tenants.is_none()
        && let Some(source) = &tenants.source
    {
        assumptions.push(format!("tenants are the ids of {source}"));
    }
    let by_role = context.is_empty()
        && settings.is_empty()
        && isolation.no_context.is_none()
        && policies.iter().any(|policy| {
            let using = policy.using.as_ref();
            using.is_some_and(|using| !using.session_columns.is_empty())
        });
    if by_role {
        assumptions.push(
            "the role is the context: policies compare rows with the user, and no setting"
                .to_owned(),
        );
        if by_name.is_none() {
            assigned::named_by_tenants(&policies, &relations, &roles, &mut tenants);
        }
        for role in &mut roles {
            let own = role.name.as_str();
            role.tenant = tenants.sample.iter().find(|id| *id == own).cloned();
        }
    }
    let named = by_name
        .as_ref()
        .filter(|_| by_role)
        .zip(tenants.table.as_ref())
        .and_then(|(column, (oid, key))| {
            let table = relations.iter().find(|relation| relation.oid == *oid)?;
            assumptions.push(format!(
                "the role of a tenant is the one that `{}.{column}` names: policies find the tenant by it",
                table.label
            ));
            Some(assigned::named_roles(&table.name, key, column))
        });
    assigned::per_tenant_roles(
        conn,
        &snapshot,
        isolation,
        named
            .as_ref()
            .map_or(&isolation.role[..], std::slice::from_ref),
        &schemas,
        &tenants.sample,
        &mut roles,
    )
    .await?;
    if by_role {
        // Acted as for every tenant, such a role would see rows of others in all but one.
        for role in &mut roles {
            let one = role.scope == super::model::RoleScope::Tenant && role.context.is_none();
            if one && role.tenant.is_none() {
                role.tenant = Some(super::model::UNKNOWN_TENANT.to_owned());
            }
        }
    }

    let functions = snapshot
        .functions
        .iter()
        .map(|function| Function {
            oid: function.oid,
            name: Qualified::new(&function.schema, &function.name),
            label: format!(
                "{}({})",
                Qualified::new(&function.schema, &function.name).human(),
                function.arguments
            ),
            owner: function.owner,
            definer: function.definer,
            kind: function.kind,
            volatility: function.volatility,
            trigger: function.trigger,
            body: bodies.get(&function.oid).cloned().unwrap_or_default(),
        })
        .collect();
    let kept: HashSet<Oid> = relations.iter().map(|relation| relation.oid).collect();
    let declared = declared::declared(&policies, &relations, &exceptions);
    Ok(Scope {
        server_version: snapshot.server_version,
        verifier: Verifier {
            name: snapshot.user.name.clone(),
            superuser: snapshot.user.superuser,
            unbound: snapshot.user.unbound,
            may_become_unbound: snapshot.user.may_become_unbound.clone().map(Ident::new),
        },
        schemas,
        tenants,
        context,
        context_settings,
        settings: settings.into_iter().collect(),
        no_context: match isolation.no_context.as_deref() {
            Some("none") => NoContext::None,
            None if by_role => NoContext::None,
            Some(value) if value.starts_with("tenant:") => {
                NoContext::Tenant(value.trim_start_matches("tenant:").to_owned())
            }
            _ => NoContext::Deny,
        },
        roles,
        relations,
        outside,
        functions,
        policies: policies
            .into_iter()
            .filter(|policy| kept.contains(&policy.relation))
            .collect(),
        strict: isolation.strict.clone(),
        exceptions,
        assumptions,
        users: super::model::Users::default(),
        memberships: members
            .as_ref()
            .and_then(|members| members.belonging.clone()),
        declared,
        platform,
        ranks: members
            .iter()
            .flat_map(|members| &members.preferred)
            .filter(|one| !one.avoid.is_empty())
            .map(|one| (one.relation, one.column.clone()))
            .collect(),
        preferred: members.map(|members| members.preferred).unwrap_or_default(),
        held: held.clone(),
        places: OnceLock::new(),
    })
}

fn schemas(snapshot: &Snapshot, isolation: &Isolation) -> anyhow::Result<Vec<String>> {
    if isolation.schemas.is_empty() {
        return Ok(snapshot.schemas.clone());
    }
    for schema in &isolation.schemas {
        if !snapshot.schemas.contains(schema) {
            let near = super::config::nearest(schema, snapshot.schemas.iter().map(String::as_str));
            return bad(
                format!("there is no schema `{schema}`"),
                near.map_or_else(
                    || format!("there are {}", list(&snapshot.schemas)),
                    |near| format!("did you mean `{near}`?"),
                ),
            );
        }
    }
    Ok(isolation.schemas.clone())
}

fn list(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
