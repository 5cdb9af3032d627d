//! Makes the [`Scope`]: one snapshot of the catalogue, names resolved, gaps in
//! the configuration filled by detection, every assumption written down.
//!
//! Reads only the catalogue and the tenants' ids; decides nothing.

mod body;
pub(crate) mod detect;
mod entry;
mod lexer;
mod members;
mod names;
mod predicate;
mod raw;
mod relations;
mod roles;
mod rows;
mod second;
mod sends;
mod sharing;
mod tenants;

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Context as _;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use self::body::Dictionary;
pub(crate) use self::names::split_column;
use self::predicate::{Callee, Names, Own};
use self::raw::Snapshot;
use super::config::{Config, Isolation, bad};
use super::held::Held;
use super::model::{
    Body, Exception, ExceptionKind, Function, NoContext, Oid, OpenKind, Options, Policy, Predicate,
    Scope, Verifier,
};
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
            "savepoint kinedb_scope",
            "rollback to savepoint kinedb_scope; release savepoint kinedb_scope",
        )
    } else {
        (
            "begin isolation level repeatable read, read only",
            "rollback",
        )
    };
    conn.execute(begin).await.context("opening the snapshot")?;
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
        "set local search_path = ''; set local statement_timeout = {timeout}"
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
    let (dictionary, bodies) = bodies(&snapshot);
    let mut policies = policies(&snapshot, &dictionary, &bodies);
    let mut columns = isolation.tenant_columns.clone();
    if columns.is_empty() {
        columns = detect::tenant_columns(&snapshot, &policies);
        detect::keep_alike(&snapshot, &mut columns);
    }
    known_columns(&snapshot, &schemas, isolation)?;
    let untold = isolation.tenant_columns.is_empty()
        && isolation.context.is_empty()
        && isolation.role.iter().all(|role| role.context.is_none());
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
    if isolation.tenant_columns.is_empty() && !columns.is_empty() {
        assumptions.push(format!(
            "the tenant is held by columns named {}: policies compare them with the session",
            list(&columns)
        ));
    }
    let table = detect::tenant_table(&snapshot, &columns);
    let exceptions = exceptions(isolation, &snapshot.today);
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
    ));
    shared_rows(&mut policies, &relations);
    let acting = roles::acting(&snapshot, isolation, &schemas)?;
    assumptions.extend(acting.assumptions);
    let mut roles = acting.roles;

    let read: BTreeSet<String> = policies
        .iter()
        .flat_map(Policy::predicates)
        .flat_map(|predicate| predicate.settings.iter().cloned())
        .collect();
    let found = members::Members::find(&relations, &policies, &bodies);
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
    visitors(
        &policies,
        &relations,
        &visiting,
        &mut roles,
        &mut assumptions,
    );
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
    let context_settings =
        entry::settings_of(&[context.as_slice(), role_contexts.as_slice()].concat());
    let settings: BTreeSet<String> = read
        .into_iter()
        .chain(context_settings.iter().cloned())
        .collect();

    let detected = tenant_query(&relations, table.as_ref());
    let mut tenants =
        tenants::load(conn, isolation, options, detected, !snapshot.user.unbound).await?;
    tenants.table = table.map(|(oid, name)| (oid, Ident::new(name)));
    if isolation.tenants.is_some() {
        fitting(&relations, &tenants)?;
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
        named_by_tenants(&policies, &relations, &roles, &mut tenants);
        for role in &mut roles {
            let own = role.name.as_str();
            role.tenant = tenants.sample.iter().find(|id| *id == own).cloned();
        }
    }
    per_tenant_roles(
        conn,
        &snapshot,
        isolation,
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
        preferred: members.map(|members| members.preferred).unwrap_or_default(),
        held: held.clone(),
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

fn bodies(snapshot: &Snapshot) -> (Dictionary, HashMap<Oid, Body>) {
    let mut names = Dictionary::default();
    for relation in &snapshot.relations {
        names
            .relations
            .entry(relation.name.clone())
            .or_default()
            .push((relation.schema.clone(), relation.oid));
    }
    for function in &snapshot.functions {
        names
            .functions
            .entry(function.name.clone())
            .or_default()
            .push((function.schema.clone(), function.oid));
    }
    let mut bodies = HashMap::new();
    for function in &snapshot.functions {
        let source = function.source.as_deref().unwrap_or_default();
        let mut body = body::read(&function.language, source, &names);
        body.session_sets.extend(body::set_statements(source));
        body.calls.retain(|callee| *callee != function.oid);
        source.clone_into(&mut body.text);
        bodies.insert(function.oid, body);
    }
    sends(snapshot, &names, &mut bodies);
    let definers = snapshot
        .functions
        .iter()
        .filter(|function| function.definer)
        .map(|function| function.oid)
        .collect();
    body::close(&mut bodies, &definers);
    (names, bodies)
}

/// What functions notify, also through others that pass on what they are given.
fn sends(snapshot: &Snapshot, names: &Dictionary, bodies: &mut HashMap<Oid, Body>) {
    let mut senders: HashSet<Oid> = HashSet::new();
    loop {
        let before = senders.len();
        let passes_on = |schema: Option<&str>, name: &str| {
            Dictionary::find(&names.functions, schema, name)
                .iter()
                .any(|oid| senders.contains(oid))
        };
        let mut found = Vec::new();
        for function in &snapshot.functions {
            let source = function.source.as_deref().unwrap_or_default();
            let may = source.to_ascii_lowercase().contains("notify")
                || bodies
                    .get(&function.oid)
                    .is_some_and(|body| body.calls.iter().any(|callee| senders.contains(callee)));
            if may && let Some(text) = sends::payload(source, &passes_on) {
                found.push((function.oid, text));
            }
        }
        for (oid, text) in found {
            senders.insert(oid);
            if let Some(body) = bodies.get_mut(&oid) {
                body.payload = Some(text);
            }
        }
        if senders.len() == before {
            return;
        }
    }
}

struct Known<'a> {
    snapshot: &'a Snapshot,
    dictionary: &'a Dictionary,
    bodies: &'a HashMap<Oid, Body>,
}

impl Names for Known<'_> {
    fn functions(&self, schema: Option<&str>, name: &str) -> Vec<Callee> {
        let bound = |oid: &Oid| {
            self.snapshot
                .relation(*oid)
                .is_some_and(|relation| relation.rls)
        };
        Dictionary::find(&self.dictionary.functions, schema, name)
            .into_iter()
            .filter_map(|oid| self.bodies.get(&oid).map(|body| (oid, body)))
            .map(|(oid, body)| Callee {
                oid,
                session: body.session || body.reads.iter().any(bound),
                opaque: body.opaque || body.dynamic,
                document: std::iter::once(&oid)
                    .chain(&body.calls)
                    .filter_map(|oid| self.bodies.get(oid))
                    .any(|body| body.text.contains("->")),
                settings: body.settings.clone(),
                reads: body.reads.clone(),
            })
            .collect()
    }

    fn relation(&self, schema: Option<&str>, name: &str) -> Option<(Oid, bool)> {
        let oid = *Dictionary::find(&self.dictionary.relations, schema, name).first()?;
        Some((oid, self.snapshot.relation(oid)?.rls))
    }
}

fn policies(
    snapshot: &Snapshot,
    dictionary: &Dictionary,
    bodies: &HashMap<Oid, Body>,
) -> Vec<Policy> {
    let known = Known {
        snapshot,
        dictionary,
        bodies,
    };
    let mut owns: HashMap<Oid, Own<'_>> = HashMap::new();
    let mut policies = Vec::new();
    for policy in &snapshot.policies {
        let Some(relation) = snapshot.relation(policy.relation) else {
            continue;
        };
        let own = owns.entry(policy.relation).or_insert_with(|| Own {
            name: &relation.name,
            columns: relation
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect(),
        });
        let predicate = |text: &Option<String>| -> Option<Predicate> {
            text.as_deref()
                .map(|text| predicate::read(text, own, &known))
        };
        policies.push(Policy {
            oid: policy.oid,
            relation: policy.relation,
            name: Ident::new(&policy.name),
            permissive: policy.permissive,
            command: policy.command,
            roles: policy.roles.clone(),
            using: predicate(&policy.using),
            check: predicate(&policy.check),
        });
    }
    policies
}

/// Refuses tenant columns that no table has, where one of nearly that name is there.
fn known_columns(
    snapshot: &Snapshot,
    schemas: &[String],
    isolation: &Isolation,
) -> anyhow::Result<()> {
    let columns = || {
        let inside = snapshot.relations.iter();
        inside
            .filter(|relation| schemas.contains(&relation.schema))
            .flat_map(|relation| &relation.columns)
            .map(|column| column.name.as_str())
    };
    for name in &isolation.tenant_columns {
        if columns().any(|column| column == name) {
            continue;
        }
        if let Some(near) = super::config::nearest(name, columns()) {
            return bad(
                format!("no table of the schemas looked at has the tenant column `{name}`"),
                format!("did you mean `{near}`?"),
            );
        }
    }
    Ok(())
}

/// Refuses ids that no tenant column can hold.
fn fitting(
    relations: &[super::model::Relation],
    tenants: &super::model::Tenants,
) -> anyhow::Result<()> {
    let fits = |relation: &super::model::Relation, id: &String| {
        super::keys::key(relation).is_some_and(|(_, type_name)| {
            super::keys::fits(type_name, id) || !CHECKED.contains(&type_name)
        })
    };
    let mut keyed = relations
        .iter()
        .filter(|relation| super::keys::key(relation).is_some());
    let wrong = tenants
        .sample
        .iter()
        .find(|id| !keyed.clone().any(|relation| fits(relation, id)));
    match (wrong, keyed.next()) {
        (Some(id), Some(relation)) => {
            let (column, type_name) = super::keys::key(relation)
                .map(|(column, type_name)| (column.as_str(), type_name))
                .unwrap_or_default();
            bad(
                format!(
                    "`tenants` gives `{id}`, and `{}.{column}` is of type {type_name}",
                    relation.label
                ),
                "select what the tenant columns hold, such as `select id::text from tenants`",
            )
        }
        _ => Ok(()),
    }
}

/// Types whose values can be told from other texts.
const CHECKED: [&str; 4] = ["uuid", "integer", "bigint", "smallint"];

/// `x is null` shares rows only where `x` is the relation's key; else it is a condition like any other.
fn shared_rows(policies: &mut [Policy], relations: &[super::model::Relation]) {
    let keys: HashMap<Oid, &super::model::TenantKey> = relations
        .iter()
        .map(|relation| (relation.oid, &relation.tenant))
        .collect();
    for policy in policies {
        let (key, always) = match keys.get(&policy.relation) {
            Some(super::model::TenantKey::Column {
                column, nullable, ..
            }) => (column.as_str(), !nullable),
            _ => ("", false),
        };
        for predicate in policy.using.iter_mut().chain(policy.check.iter_mut()) {
            if always && predicate.text.to_lowercase().contains(" distinct from ") {
                let none = format!("{key} is null");
                predicate.open.retain(|open| {
                    open.kind != OpenKind::SharedRows || open.text.replace('"', "") != none
                });
            }
        }
        let opens = policy
            .using
            .iter_mut()
            .chain(policy.check.iter_mut())
            .flat_map(|predicate| predicate.open.iter_mut());
        for open in opens.filter(|open| open.kind == OpenKind::SharedRows) {
            let column = open
                .text
                .trim_end_matches(" is null")
                .trim_matches(['"', '(', ')']);
            if column != key {
                open.kind = OpenKind::Row;
            }
        }
    }
}

/// Roles that nobody declared and that no policy lets see a tenant's rows, where others are let.
fn visitors(
    policies: &[Policy],
    relations: &[super::model::Relation],
    visiting: &[String],
    roles: &mut [super::model::ActingRole],
    assumptions: &mut Vec<String>,
) {
    let let_in = |role: &super::model::ActingRole| {
        relations.iter().any(|relation| {
            relation.holds_tenants() && !relation.rls
                || policies.iter().any(|policy| {
                    policy.relation == relation.oid
                        && policy.permissive
                        && (policy.roles.contains(&0)
                            || policy.roles.iter().any(|oid| role.reach.contains(oid)))
                })
        })
    };
    if !roles.iter().any(let_in) {
        return;
    }
    for role in roles {
        let anonymous = role.name.as_str().contains("anon");
        if !role.declared && (anonymous || !let_in(role)) {
            role.scope = super::model::RoleScope::Shared;
            // Nobody's session: no claim of a tenant or a user.
            if anonymous && role.context.is_none() {
                role.context = Some(visiting.to_vec());
            }
            assumptions.push(format!(
                "`{}` is taken for the role of visitors, who see no tenant's rows: {}",
                role.name,
                if anonymous {
                    "it is named so"
                } else {
                    "no policy lets it in"
                }
            ));
        }
    }
}

/// Where rows bear the name of the role, a role is a tenant, also one that has no rows yet.
fn named_by_tenants(
    policies: &[Policy],
    relations: &[super::model::Relation],
    roles: &[super::model::ActingRole],
    tenants: &mut super::model::Tenants,
) {
    let named = policies.iter().any(|policy| {
        let key = relations
            .iter()
            .find(|relation| relation.oid == policy.relation)
            .and_then(super::keys::key);
        let using = policy.using.as_ref();
        key.zip(using).is_some_and(|((key, _), using)| {
            using
                .role_columns
                .iter()
                .any(|column| key.as_str() == column)
        })
    });
    if !named {
        return;
    }
    for role in roles {
        let own = role.name.as_str();
        let tenant = role.scope == super::model::RoleScope::Tenant && role.context.is_none();
        if tenant && !tenants.sample.iter().any(|id| id == own) {
            tenants.sample.push(own.to_owned());
        }
    }
    tenants.total = tenants.total.max(tenants.sample.len() as u64);
}

fn exceptions(isolation: &Isolation, today: &str) -> Vec<Exception> {
    isolation
        .exception
        .iter()
        .map(|exception| {
            let until = exception
                .until
                .and_then(|until| until.date)
                .map(|date| date.to_string());
            Exception {
                object: exception.object.clone(),
                kind: exception.kind,
                filter: exception.filter.clone(),
                role: exception.role.clone(),
                reason: exception.reason.clone(),
                expired: until.as_deref().is_some_and(|until| until < today),
                until,
            }
        })
        .collect()
}

/// Exceptions in force that speak of a relation.
pub(crate) fn excepted(
    exceptions: &[Exception],
    label: &Qualified,
    kinds: &[ExceptionKind],
) -> bool {
    exceptions.iter().any(|exception| {
        !exception.expired
            && kinds.contains(&exception.kind)
            && names_object(&exception.object, label)
    })
}

/// A name as written in an exception means this object.
pub(crate) fn names_object(text: &str, name: &Qualified) -> bool {
    match names::parts(text).as_deref() {
        Some([own]) => {
            own == name.name.as_str() && (name.schema.as_str() == "public" || !text.contains('.'))
                || text == name.name.as_str()
        }
        Some([schema, own]) => schema == name.schema.as_str() && own == name.name.as_str(),
        _ => text == name.human(),
    }
}

fn tenant_query(
    relations: &[super::model::Relation],
    table: Option<&(Oid, String)>,
) -> Option<String> {
    if let Some((oid, column)) = table {
        let relation = relations.iter().find(|relation| relation.oid == *oid)?;
        return Some(format!(
            "select {}::text from {}",
            Ident::new(column),
            relation.name
        ));
    }
    let (name, column) = relations
        .iter()
        .filter(|relation| relation.estimate != 0.0)
        .filter_map(|relation| match &relation.tenant {
            super::model::TenantKey::Column { column, .. }
                if relation.kind == super::model::RelationKind::Table =>
            {
                Some((relation, column))
            }
            _ => None,
        })
        .min_by(|(a, _), (b, _)| a.estimate.total_cmp(&b.estimate))
        .map(|(relation, column)| (&relation.name, column))?;
    Some(format!("select distinct {column}::text from {name}"))
}

async fn per_tenant_roles(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    isolation: &Isolation,
    schemas: &[String],
    sample: &[String],
    roles: &mut Vec<super::model::ActingRole>,
) -> anyhow::Result<()> {
    let graph = roles::Graph::new(snapshot, HashSet::new());
    for role in &isolation.role {
        let Some(query) = &role.query else { continue };
        for tenant in sample {
            let sql = query.replace(":tenant", &Literal::new(tenant).to_string());
            let name: Option<Option<String>> = sqlx::query_scalar(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_optional(&mut *conn)
                .await
                .map_err(|error| {
                    let wrong = crate::fault::Fault::new(
                        crate::fault::Code::BadConfig,
                        format!("the query `{query}` of a role fails: {error}"),
                    )
                    .hint(
                        "it must select the role's name as text, given `:tenant` as a text literal",
                    );
                    let cause = anyhow::Error::from(error);
                    // Whoever holds the lock is to blame, not the query.
                    if super::held::waited(&cause) {
                        cause.context(format!("the query `{query}` of a role"))
                    } else {
                        wrong.into()
                    }
                })?;
            if let Some(name) = name.flatten() {
                let mut acting = roles::declared(&graph, isolation, schemas, role, &name)?;
                acting.tenant = Some(tenant.clone());
                roles.retain(|role| role.declared || role.oid != acting.oid);
                roles.push(acting);
            }
        }
    }
    Ok(())
}
