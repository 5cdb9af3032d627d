//! Which role acts for which tenant, and which for none, where a role is not simply
//! put into any tenant's context.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, PgConnection};

use super::raw::Snapshot;
use super::roles;
use crate::db::ident::Literal;
use crate::verify::config::Isolation;
use crate::verify::held;
use crate::verify::keys;
use crate::verify::model::{ActingRole, Policy, Relation, RoleScope, Tenants};

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

pub(super) async fn per_tenant_roles(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    isolation: &Isolation,
    schemas: &[String],
    sample: &[String],
    roles: &mut Vec<ActingRole>,
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
