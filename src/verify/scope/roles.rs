//! The roles to act as: those that are declared, and every other login that
//! has rights and is not an administrator's.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::names;
use super::raw::Snapshot;
use crate::db::ident::{Ident, plain};
use crate::verify::config::{Isolation, Role, bad, nearest};
use crate::verify::model::{ActAs, ActingRole, Oid, RoleScope};

/// The acting roles, and sentences on what was assumed.
pub(crate) struct Acting {
    pub(crate) roles: Vec<ActingRole>,
    pub(crate) assumptions: Vec<String>,
}

/// The role graph.
pub(crate) struct Graph<'a> {
    snapshot: &'a Snapshot,
    edges: HashMap<Oid, Vec<Oid>>,
    inherited: HashMap<Oid, Vec<Oid>>,
    stops: HashSet<Oid>,
}

impl<'a> Graph<'a> {
    /// Memberships that give rights or can be taken; roles in `stops` are not entered.
    pub(crate) fn new(snapshot: &'a Snapshot, stops: HashSet<Oid>) -> Self {
        let mut edges: HashMap<Oid, Vec<Oid>> = HashMap::new();
        let mut inherited: HashMap<Oid, Vec<Oid>> = HashMap::new();
        for member in &snapshot.members {
            edges.entry(member.member).or_default().push(member.role);
            if member.inherits {
                inherited
                    .entry(member.member)
                    .or_default()
                    .push(member.role);
            }
        }
        Self {
            snapshot,
            edges,
            inherited,
            stops,
        }
    }

    /// Every role that one is or can become, itself first.
    pub(crate) fn reach(&self, from: Oid) -> Vec<Oid> {
        self.walk(&self.edges, from)
    }

    /// Every role whose rights one has without taking it, itself first.
    fn rights(&self, from: Oid) -> Vec<Oid> {
        self.walk(&self.inherited, from)
    }

    /// The first roles on every way from a login that has no rights until it takes one;
    /// `able` tells whether these roles give any.
    fn taken(&self, from: Oid, able: impl Fn(&[Oid]) -> bool) -> Vec<Oid> {
        let mut seen = vec![from];
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(role) = seen.get(at).copied() {
            at += 1;
            if able(&self.rights(role)) {
                found.push(role);
                continue;
            }
            for next in self.edges.get(&role).into_iter().flatten() {
                if !self.stops.contains(next) && !seen.contains(next) {
                    seen.push(*next);
                }
            }
        }
        found
    }

    fn walk(&self, edges: &HashMap<Oid, Vec<Oid>>, from: Oid) -> Vec<Oid> {
        let mut reach = vec![from];
        let mut at = 0;
        while let Some(role) = reach.get(at) {
            let next: Vec<Oid> = edges
                .get(role)
                .into_iter()
                .flatten()
                .copied()
                .filter(|role| !self.stops.contains(role) && !reach.contains(role))
                .collect();
            reach.extend(next);
            at += 1;
        }
        reach
    }

    /// Functions run with its rights for whoever calls them, and nobody connects as it.
    fn works_for_others(&self, role: Oid) -> bool {
        let mut functions = self.snapshot.functions.iter();
        let mut logins = self
            .snapshot
            .roles
            .iter()
            .filter(|one| one.login && !one.superuser);
        functions.any(|function| function.definer && function.owner == role)
            && !logins.any(|login| self.reach(login.oid).contains(&role))
    }

    fn bypasses(&self, reach: &[Oid]) -> bool {
        reach
            .iter()
            .filter_map(|oid| self.snapshot.role(*oid))
            .any(|role| role.superuser || role.bypass)
    }
}

/// Puts the acting roles together.
///
/// # Errors
/// `BadConfig` for names that are no roles or no columns.
pub(crate) fn acting(
    snapshot: &Snapshot,
    isolation: &Isolation,
    schemas: &[String],
) -> anyhow::Result<Acting> {
    let mut stops = HashSet::new();
    for role in &isolation.role {
        if role.scope == Some(RoleScope::Trusted)
            && let Some(name) = &role.name
        {
            stops.insert(find(snapshot, name)?);
        }
    }
    let graph = Graph::new(snapshot, stops);
    let mut roles = Vec::new();
    for role in &isolation.role {
        if let Some(name) = &role.name {
            roles.push(declared(&graph, isolation, schemas, role, name)?);
        }
    }
    let mut assumptions = Vec::new();
    let told = !isolation.role.is_empty();
    if isolation.role.iter().any(|role| role.query.is_some()) {
        assumptions.push(
            "roles are named by a query, so other logins with rights were not looked for"
                .to_owned(),
        );
    } else {
        others(&graph, schemas, told, &mut roles, &mut assumptions);
    }
    Ok(Acting { roles, assumptions })
}

/// The acting role of one declaration; also used for roles that a query names.
///
/// # Errors
/// `BadConfig` for names that are no roles or no columns.
pub(crate) fn declared(
    graph: &Graph<'_>,
    isolation: &Isolation,
    schemas: &[String],
    role: &Role,
    name: &str,
) -> anyhow::Result<ActingRole> {
    let snapshot = graph.snapshot;
    let oid = find(snapshot, name)?;
    let mut reach = graph.reach(oid);
    let login = match &role.login {
        Some(login) if login != name => {
            let more = graph.reach(find(snapshot, login)?);
            reach.extend(
                more.into_iter()
                    .filter(|oid| !reach.contains(oid))
                    .collect::<Vec<_>>(),
            );
            Some(Ident::new(login))
        }
        _ => None,
    };
    let url = role.resolved_url()?;
    let mut columns = Vec::new();
    for text in &role.columns {
        let (relation, number) = names::column(snapshot, schemas, text)?;
        columns.push((relation.oid, number));
    }
    let strongest = match url {
        Some(_) => ActAs::Login,
        None if snapshot.user.superuser => ActAs::SessionAuthorization,
        None => ActAs::SetRole,
    };
    let context = role
        .context
        .clone()
        .filter(|context| *context != isolation.context);
    Ok(ActingRole {
        oid,
        name: Ident::new(name),
        login,
        url,
        act_as: role.act_as.unwrap_or(strongest),
        context,
        user: role.user.clone(),
        tenant: None,
        scope: role.scope.unwrap_or(RoleScope::Tenant),
        columns,
        bypasses: graph.bypasses(&reach),
        reach,
        declared: true,
    })
}

fn find(snapshot: &Snapshot, name: &str) -> anyhow::Result<Oid> {
    let folded = names::parts(name)
        .filter(|parts| parts.len() == 1)
        .and_then(|mut parts| parts.pop());
    let found = snapshot
        .role_named(name)
        .or_else(|| snapshot.role_named(folded.as_deref()?));
    match found {
        Some(role) => Ok(role.oid),
        None => {
            let near = nearest(
                name,
                snapshot
                    .roles
                    .iter()
                    .map(|role| role.name.as_str())
                    .filter(|name| !name.starts_with("pg_")),
            );
            bad(
                format!("there is no role `{name}` on this server"),
                near.map_or_else(
                    || {
                        format!(
                            "create it (`create role {}`), or correct the name",
                            plain(name)
                        )
                    },
                    |near| format!("did you mean `{near}`?"),
                ),
            )
        }
    }
}

/// Roles that nobody declared and that have rights on the tables: logins always,
/// groups too where no role was declared. One of each kind is enough.
fn others(
    graph: &Graph<'_>,
    schemas: &[String],
    told: bool,
    roles: &mut Vec<ActingRole>,
    assumptions: &mut Vec<String>,
) {
    let snapshot = graph.snapshot;
    let relations = || {
        snapshot
            .relations
            .iter()
            .filter(|relation| schemas.contains(&relation.schema))
    };
    let granted: BTreeSet<Oid> = relations()
        .flat_map(|relation| relation.grantees.iter().copied())
        .collect();
    let owners: BTreeSet<Oid> = relations().map(|relation| relation.owner).collect();
    // Owners whose tables bind them too.
    let forced: BTreeSet<Oid> = relations()
        .filter(|relation| relation.rls && relation.force)
        .map(|relation| relation.owner)
        .collect();
    let policy_roles: BTreeSet<Oid> = snapshot
        .policies
        .iter()
        .flat_map(|policy| policy.roles.iter().copied())
        .collect();
    let everything: BTreeSet<Oid> = ["pg_read_all_data", "pg_write_all_data"]
        .iter()
        .filter_map(|name| snapshot.role_named(name))
        .map(|role| role.oid)
        .collect();
    let interesting =
        |oid: &Oid| granted.contains(oid) || policy_roles.contains(oid) || everything.contains(oid);
    let class = |reach: &[Oid]| -> BTreeSet<Oid> {
        reach
            .iter()
            .copied()
            .filter(|oid| interesting(oid))
            .collect()
    };
    // Who owns a table among many that others own and let it use is no administrator.
    let owns = |reach: &[Oid]| {
        let owned = relations().filter(|relation| reach.contains(&relation.owner));
        let lent = relations().filter(|relation| {
            !reach.contains(&relation.owner)
                && relation.grantees.iter().any(|oid| reach.contains(oid))
        });
        reach.iter().any(|oid| owners.contains(oid)) && lent.count() <= owned.count()
    };
    let mut known: BTreeSet<BTreeSet<Oid>> = roles.iter().map(|role| class(&role.reach)).collect();
    let mut administrators: BTreeMap<&str, &str> = BTreeMap::new();
    let mut owning = Vec::new();
    let declared: HashSet<Oid> = roles
        .iter()
        .map(|role| role.oid)
        .chain(
            roles
                .iter()
                .filter_map(|role| snapshot.role_named(role.login.as_ref()?.as_str()))
                .map(|role| role.oid),
        )
        .collect();
    let mut candidates: Vec<_> = snapshot
        .roles
        .iter()
        .filter(|role| {
            !role.name.starts_with("pg_")
                && !declared.contains(&role.oid)
                && !graph.stops.contains(&role.oid)
        })
        .filter(|role| role.login || (!told && granted.contains(&role.oid)))
        .collect();
    candidates.sort_by_key(|role| !role.login);
    for role in candidates {
        let reach = graph.reach(role.oid);
        let own = class(&reach);
        if !role.login && !roles.is_empty() && graph.works_for_others(role.oid) {
            assumptions.push(format!(
                "`{}` was not acted as: functions run as it, and no login can become it",
                role.name
            ));
            continue;
        }
        // Logins above declared roles (poolers' logins, support) bring nothing new unless their rights differ.
        let bound = role.login && !role.superuser && reach.iter().any(|oid| forced.contains(oid));
        if own.is_empty() && !(granted.contains(&0) && known.is_empty()) && !bound {
            continue;
        }
        if role.superuser || graph.bypasses(&reach) {
            administrators.insert(&role.name, "RLS does not bind it, or a role it can become");
        } else if owns(&reach) {
            owning.push((role, reach));
        } else if !known.contains(&own) {
            // A login that inherits nothing works as the role that it takes for a request.
            let open = granted.contains(&0);
            let taken = graph.taken(role.oid, |rights| open || !class(rights).is_empty());
            let mut added = BTreeSet::from([own]);
            for oid in taken {
                let Some(other) = snapshot.role(oid) else {
                    continue;
                };
                let itself = oid == role.oid;
                let reach = graph.reach(oid);
                let kind = class(&reach);
                if !itself && (declared.contains(&oid) || known.contains(&kind)) {
                    continue;
                }
                added.insert(kind);
                if itself && (!told || role.login) {
                    assumptions.push(format!(
                        "`{}` has rights on the tables and is taken for a role of the application",
                        role.name
                    ));
                } else if !itself {
                    assumptions.push(format!(
                        "`{}`, which `{}` takes by SET ROLE and without which it has no rights, is taken for a role of the application",
                        other.name, role.name
                    ));
                }
                roles.push(assumed(snapshot, other, (!itself).then_some(role), reach));
            }
            known.append(&mut added);
        }
    }
    // With nobody else to connect as, the application connects as the owner: FORCE is to bind it.
    let only = roles.is_empty() && owning.iter().any(|(role, _)| role.login);
    for (role, reach) in owning {
        if only && role.login && reach.iter().any(|oid| forced.contains(oid)) {
            assumptions.push(format!(
                "`{}` owns the tables, which FORCE binds it to, and is taken for a role of the application: no other has rights on them",
                role.name
            ));
            roles.push(assumed(snapshot, role, None, reach));
        } else {
            administrators.insert(&role.name, "it is or can become the owner of tables");
        }
    }
    for (name, why) in administrators {
        assumptions.push(format!(
            "`{name}` is taken for an administrator's login and was not acted as: {why}"
        ));
    }
}

/// A role that nobody declared.
fn assumed(
    snapshot: &Snapshot,
    role: &super::raw::Role,
    login: Option<&super::raw::Role>,
    reach: Vec<Oid>,
) -> ActingRole {
    ActingRole {
        oid: role.oid,
        name: Ident::new(&role.name),
        login: login.map(|login| Ident::new(&login.name)),
        url: None,
        act_as: if snapshot.user.superuser {
            ActAs::SessionAuthorization
        } else {
            ActAs::SetRole
        },
        context: None,
        user: None,
        tenant: None,
        scope: RoleScope::Tenant,
        columns: Vec::new(),
        bypasses: false,
        reach,
        declared: false,
    }
}
