//! Which role acts for which tenant, and which for none, where a role is not simply
//! put into any tenant's context.

use std::collections::{HashMap, HashSet};

use sqlx::{AssertSqlSafe, PgConnection};

use super::lexer::{Token, tokens};
use super::raw::{self, Snapshot};
use super::roles;
use crate::db::ident::{Ident, Literal, Qualified};
use crate::verify::config::{Isolation, Role};
use crate::verify::held;
use crate::verify::keys;
use crate::verify::model::{ActingRole, Body, Oid, Policy, Relation, RoleScope, Tenants};

/// Roles that nobody declared and that no policy lets see a tenant's rows, where others are let.
pub(super) fn visitors(
    policies: &[Policy],
    relations: &[Relation],
    visiting: &[String],
    roles: &mut [ActingRole],
    assumptions: &mut Vec<String>,
) {
    let let_in = |role: &ActingRole| {
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
            role.scope = RoleScope::Shared;
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
pub(super) fn named_by_tenants(
    policies: &[Policy],
    relations: &[Relation],
    roles: &[ActingRole],
    tenants: &mut Tenants,
) {
    let named = policies.iter().any(|policy| {
        let key = relations
            .iter()
            .find(|relation| relation.oid == policy.relation)
            .and_then(keys::key);
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
        let tenant = role.scope == RoleScope::Tenant && role.context.is_none();
        if tenant && !tenants.sample.iter().any(|id| id == own) {
            tenants.sample.push(own.to_owned());
        }
    }
    tenants.total = tenants.total.max(tenants.sample.len() as u64);
}

/// The column of the tenants' table that names the role of each, where policies find the
/// tenant by that: `tenant_id = (select id from tenants where db_user = current_user)`.
pub(super) fn role_column(
    snapshot: &Snapshot,
    policies: &[Policy],
    bodies: &HashMap<Oid, Body>,
    table: Option<&(Oid, String)>,
) -> Option<String> {
    let (oid, key) = table?;
    let table = snapshot.relation(*oid)?;
    let predicates = policies.iter().flat_map(Policy::predicates);
    let reading = predicates.filter(|predicate| predicate.reads.contains(oid));
    reading
        .flat_map(|predicate| {
            let called = predicate.functions.iter().filter_map(|oid| bodies.get(oid));
            std::iter::once(&predicate.text).chain(called.map(|body| &body.text))
        })
        .find_map(|text| named_by_session(&tokens(text), table, key))
}

/// The column of a table that a text compares with the role of the session.
fn named_by_session(text: &[Token], table: &raw::Relation, key: &str) -> Option<String> {
    let who = |token: &Token| {
        ["current_user", "session_user", "current_role"]
            .iter()
            .any(|word| token.is_word(word))
    };
    let bound = |token: &Token| token.is_word("and") || token.is_word("or") || token.is("=");
    text.iter().enumerate().find_map(|(at, token)| {
        if !token.is("=") {
            return None;
        }
        let before: Vec<&Token> = text[..at]
            .iter()
            .rev()
            .take_while(|t| !bound(t))
            .take(6)
            .collect();
        let after: Vec<&Token> = text[at + 1..]
            .iter()
            .take_while(|t| !bound(t))
            .take(6)
            .collect();
        let column = |side: &[&Token]| {
            side.iter()
                .filter_map(|token| token.name())
                .find(|name| *name != key && table.column_named(name).is_some())
                .map(str::to_owned)
        };
        if after.iter().any(|token| who(token)) {
            column(&before)
        } else if before.iter().any(|token| who(token)) {
            column(&after)
        } else {
            None
        }
    })
}

/// What `[[isolation.role]]` would say of the roles that the tenants' table names.
pub(super) fn named_roles(table: &Qualified, key: &Ident, column: &str) -> Role {
    let column = Ident::new(column);
    Role {
        // A name that is no role of this server is nobody's.
        query: Some(format!(
            "select rolname::text from pg_catalog.pg_roles join {table} as kinedb_tenants \
             on rolname::text = kinedb_tenants.{column}::text where kinedb_tenants.{key}::text = :tenant"
        )),
        ..Role::default()
    }
}

pub(super) async fn per_tenant_roles(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    isolation: &Isolation,
    told: &[Role],
    schemas: &[String],
    sample: &[String],
    roles: &mut Vec<ActingRole>,
) -> anyhow::Result<()> {
    let graph = roles::Graph::new(snapshot, HashSet::new());
    for role in told {
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
                    if held::waited(&cause) {
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
