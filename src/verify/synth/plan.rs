//! What a row must hold before values are looked for: its tenant, and the keys
//! of the rows it refers to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::harvest::Harvest;
use super::insert::{Insert, LOOKED_UP, Wanted, build, referred};
use super::{Stage, text_of, values};
use crate::db::ident::{Ident, Literal};
use crate::verify::details::{ColumnDetail, Details, Reference};
use crate::verify::keys::{self, speaks_of};
use crate::verify::model::{ActingRole, Join, Oid, Policy, Relation, Scope, TenantKey};
use crate::verify::scope::entry::about_user;
use crate::verify::world::BIG;

/// Plans rows on a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planner<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) details: &'a Details,
    pub(crate) stage: &'a Stage,
}

/// The id of a user whom rows of a tenant name while none is known.
fn stand_in(tenant: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, tenant.as_bytes()).to_string()
}

impl Planner<'_> {
    /// A row stamped with tenant `stamp` whose references lead to rows of tenant `parents`.
    pub(crate) fn wanted(
        &self,
        relation: &Relation,
        stamp: usize,
        parents: usize,
        salt: u32,
    ) -> Wanted {
        let id = &self.stage.tenants[stamp].id;
        let mut wanted = Wanted {
            named: [
                referred(self.details, relation.oid),
                self.asked(relation.oid),
            ]
            .concat(),
            tenant: id.clone(),
            salt,
            ..Wanted::default()
        };
        self.refer(relation, parents, salt, &mut wanted);
        if let Some((column, type_name)) = keys::key(relation) {
            let exact = self
                .details
                .columns_of(relation.oid)
                .find(|detail| detail.name == column.as_str())
                .map_or(type_name, |detail| detail.type_name.as_str());
            wanted.loose.remove(column.as_str());
            wanted.fixed.insert(
                column.as_str().to_owned(),
                format!("{}::{exact}", Literal::new(id)),
            );
        }
        self.referred_by_keys(relation, id, &mut wanted);
        self.enabled(relation, &mut wanted);
        self.demanded(relation, id, &mut wanted);
        self.on_the_way(relation, &mut wanted);
        self.apart(relation, parents, &mut wanted);
        self.authored(relation, &self.stage.tenants[parents].id, &mut wanted);
        self.placed(relation, &self.stage.tenants[parents].id, &mut wanted);
        self.attended(relation, parents, &mut wanted);
        self.like_real(relation, parents, &mut wanted);
        for (number, name, value) in self.stage.chosen(relation.oid) {
            if let Entry::Vacant(place) = wanted.fixed.entry(name.clone()) {
                place.insert(value.clone());
                wanted.settled.push(*number);
            }
        }
        wanted
    }

    /// Columns that views ask to hold something, but for those of references.
    fn asked(&self, relation: Oid) -> Vec<String> {
        let refers = |column: &String| {
            self.details.references.iter().any(|reference| {
                reference.relation == relation && reference.columns.contains(column)
            })
        };
        let all = self.details.asked.iter();
        all.filter(|(oid, column)| *oid == relation && !refers(column))
            .map(|(_, column)| column.clone())
            .collect()
    }

    /// What other tables' tenant columns refer to is the tenant's id, too: the table that
    /// lists them may bear it in a second column, or take it from another table itself.
    fn referred_by_keys(&self, relation: &Relation, tenant: &str, wanted: &mut Wanted) {
        for reference in self.details.references.iter().filter(|reference| {
            reference.parent == relation.oid && reference.relation != relation.oid
        }) {
            let key = self
                .scope
                .relation(reference.relation)
                .and_then(keys::key)
                .map(|(column, _)| column.as_str());
            let target = reference
                .columns
                .iter()
                .zip(&reference.keys)
                .find(|(own, _)| Some(own.as_str()) == key)
                .map(|(_, target)| target);
            let column = self
                .details
                .columns_of(relation.oid)
                .find(|column| Some(&column.name) == target)
                .filter(|column| keys::fits(&column.base, tenant));
            if let Some(column) = column {
                wanted.fixed.insert(
                    column.name.clone(),
                    format!("{}::{}", Literal::new(tenant), column.type_name),
                );
            }
        }
    }

    /// What policies ask a member's row for before its user may act.
    fn enabled(&self, relation: &Relation, wanted: &mut Wanted) {
        let preferred = self.scope.preferred.iter();
        for one in preferred.filter(|one| one.relation == relation.oid) {
            let column = self
                .details
                .columns_of(relation.oid)
                .find(|column| column.name == one.column.as_str());
            let harmless = || self.harmless(column?, &one.avoid);
            let value = one.values.first().cloned().or_else(harmless);
            if let (Some(column), Some(value)) = (column, value)
                && let Entry::Vacant(place) = wanted.fixed.entry(column.name.clone())
            {
                let value = if one.list {
                    let all: Vec<String> = one
                        .values
                        .iter()
                        .map(|value| Literal::new(value).to_string())
                        .collect();
                    format!("array[{}]", all.join(", "))
                } else {
                    Literal::new(value).to_string()
                };
                place.insert(format!("{value}::{}", column.type_name));
            }
        }
    }

    /// A value that a column may hold and that opens nothing by itself.
    fn harmless(&self, column: &ColumnDetail, avoid: &[String]) -> Option<String> {
        let checks = self.details.checks.iter();
        let said = checks
            .filter(|check| check.relation == column.relation)
            .filter(|check| speaks_of(&check.check, &column.name))
            .flat_map(|check| Harvest::of(&check.check).strings);
        let labels = column.labels.iter().flatten().cloned();
        let mut all = labels.chain(said);
        all.find(|value| !avoid.is_empty() && !avoid.contains(value))
    }

    /// Columns that policies compare with the user bear the user of this tenant.
    fn authored(&self, relation: &Relation, tenant: &str, wanted: &mut Wanted) {
        let Some(user) = self.scope.users.of(tenant) else {
            return;
        };
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        let policies = self.scope.policies.iter();
        let columns: std::collections::BTreeSet<&str> = policies
            .filter(|policy| policy.relation == relation.oid && policy.permissive)
            .flat_map(Policy::predicates)
            .flat_map(|predicate| predicate.user_columns.iter().map(String::as_str))
            .filter(|column| Some(*column) != key)
            .collect();
        for column in self.details.columns_of(relation.oid) {
            let fits = column.base != "uuid" || uuid::Uuid::try_parse(&user).is_ok();
            // What is the tenant's by its user's membership is so by the one who acts.
            let named = |owns: &str| !owns.contains("select") || self.registered(column);
            let told = matches!(&relation.tenant, TenantKey::Owns(owns)
                if owns.contains(&column.name) && named(owns));
            if fits && !told && columns.contains(column.name.as_str()) {
                let value = format!("{}::{}", Literal::new(&user), column.type_name);
                wanted.fixed.insert(column.name.clone(), value);
            }
        }
    }

    /// It refers to the table of tenants.
    fn registered(&self, column: &ColumnDetail) -> bool {
        let registry = self.scope.tenants.table.as_ref().map(|(oid, _)| *oid);
        let mut references = self.details.references.iter();
        references.any(|reference| {
            reference.relation == column.relation
                && Some(reference.parent) == registry
                && reference.columns.contains(&column.name)
        })
    }

    /// What names a user where other tables' policies look for one bears the tenant's, too:
    /// who takes part in a thread. Of whom nobody is known yet, one is named throughout.
    fn attended(&self, relation: &Relation, tenant: usize, wanted: &mut Wanted) {
        let id = &self.stage.tenants[tenant].id;
        let asked = self
            .scope
            .policies
            .iter()
            .filter(|policy| policy.relation != relation.oid)
            .flat_map(Policy::predicates)
            .any(|predicate| predicate.reads.contains(&relation.oid));
        // Who stands in a table that belongs to nobody may do more, wherever that is.
        if !asked || !relation.holds_tenants() {
            return;
        }
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        let user = self.scope.users.of(id);
        let made = self.stage.row(relation.oid, tenant).is_some();
        for column in self.details.columns_of(relation.oid) {
            let told =
                matches!(&relation.tenant, TenantKey::Owns(owns) if owns.contains(&column.name));
            let refers = self.details.references.iter().any(|reference| {
                reference.relation == relation.oid && reference.columns.contains(&column.name)
            });
            // A second row names somebody else there.
            let single = self.details.uniques.iter().any(|unique| {
                unique.relation == relation.oid && unique.columns.contains(&column.name)
            });
            if told
                || refers
                || single && made
                || Some(column.name.as_str()) == key
                || !about_user(&column.name)
                || column.base != "uuid"
            {
                continue;
            }
            let name = user.clone().unwrap_or_else(|| stand_in(id));
            if keys::fits(&column.base, &name)
                && let Entry::Vacant(place) = wanted.fixed.entry(column.name.clone())
            {
                place.insert(format!("{}::{}", Literal::new(&name), column.type_name));
            }
        }
    }

    /// While no user of a tenant is known, its rows name one and the same in what tells
    /// whose they are within it: where else a session stands is read from one of them.
    fn placed(&self, relation: &Relation, tenant: &str, wanted: &mut Wanted) {
        let TenantKey::Owns(owns) = &relation.tenant else {
            return;
        };
        if self.scope.users.of(tenant).is_some() {
            return;
        }
        let one = stand_in(tenant);
        for column in self.details.columns_of(relation.oid) {
            let asked = format!(
                "{}.{}::text = :user",
                relation.name,
                Ident::new(&column.name)
            );
            let refers = self.details.references.iter().any(|reference| {
                reference.relation == relation.oid && reference.columns.contains(&column.name)
            });
            let checked = self.details.checks.iter().any(|check| {
                check.relation == relation.oid && speaks_of(&check.check, &column.name)
            });
            if !owns.contains(&asked)
                || refers
                || checked
                || !matches!(&*column.base, "text" | "uuid")
            {
                continue;
            }
            if let Entry::Vacant(place) = wanted.fixed.entry(column.name.clone()) {
                place.insert(format!("{}::{}", Literal::new(&one), column.type_name));
            }
        }
    }

    /// Columns that policies speak of hold what a real row of the tenant holds, where there
    /// is one: what else policies ask of a row is met by that.
    fn like_real(&self, relation: &Relation, tenant: usize, wanted: &mut Wanted) {
        let real = !self.stage.tenants[tenant].synthetic
            && self.stage.real.contains(&relation.oid)
            && relation.estimate < BIG;
        let texts: Vec<&str> = Policy::on(&self.scope.policies, relation.oid)
            .map(|predicate| predicate.text.as_str())
            .collect();
        if !real || texts.is_empty() {
            return;
        }
        for column in self.details.columns_of(relation.oid) {
            let unique = self.details.uniques.iter().any(|unique| {
                unique.relation == relation.oid && unique.columns.contains(&column.name)
            });
            if unique
                || column.generated
                || !column.identity.is_empty()
                || wanted.fixed.contains_key(&column.name)
                || !texts.iter().any(|text| speaks_of(text, &column.name))
            {
                continue;
            }
            let usual = self
                .stage
                .chosen(relation.oid)
                .iter()
                .find(|(number, ..)| *number == column.number)
                .map(|(.., value)| value.clone())
                .or_else(|| values::first(column, wanted.salt));
            if let Some(usual) = usual {
                // A real row may hold NULL there.
                let value = format!(
                    "(select kinedb_like.value from ((select 0 as place, {0}.{1} as value from {2} limit 1) \
                     union all select 1, {usual}) as kinedb_like order by kinedb_like.place{LOOKED_UP}",
                    relation.name,
                    Ident::new(&column.name),
                    self.first_of(relation, tenant)
                );
                wanted.fixed.insert(column.name.clone(), value);
            }
        }
    }

    /// Whether a policy for these roles is one for a role that acts.
    pub(super) fn applies(&self, roles: &[Oid]) -> bool {
        roles.iter().any(|of| {
            let acts = |role: &ActingRole| role.oid == *of || role.reach.contains(of);
            *of == 0 || self.scope.roles.iter().any(acts)
        })
    }

    /// The INSERT for it, with only these columns where a role may not name all.
    pub(crate) fn insert(
        &self,
        relation: &Relation,
        mut wanted: Wanted,
        allowed: Option<Vec<String>>,
    ) -> Insert {
        wanted.allowed = allowed;
        build(self.details, relation, &wanted)
    }

    pub(crate) fn nullable(&self, relation: Oid, columns: &[String]) -> bool {
        self.details
            .columns_of(relation)
            .any(|column| columns.contains(&column.name) && !column.not_null)
    }

    /// Gives every reference the key of the tenant's own parent row.
    fn refer(&self, relation: &Relation, tenant: usize, salt: u32, wanted: &mut Wanted) {
        let columns: BTreeMap<&str, _> = self
            .details
            .columns_of(relation.oid)
            .map(|column| (column.name.as_str(), column))
            .collect();
        for reference in self
            .details
            .references
            .iter()
            .filter(|reference| reference.relation == relation.oid)
        {
            let nullable = self.nullable(relation.oid, &reference.columns);
            if reference.parent == relation.oid {
                if !nullable {
                    // A row may refer to itself.
                    for (own, key) in reference.columns.iter().zip(&reference.keys) {
                        let value = columns
                            .get(key.as_str())
                            .and_then(|column| values::first(column, salt));
                        if let Some(value) = value {
                            wanted.fixed.insert(key.clone(), value.clone());
                            wanted.fixed.insert(own.clone(), value);
                        }
                    }
                }
                continue;
            }
            let of = match &reference.columns[..] {
                [own] if self.set_apart(relation, own) => self.beside(tenant),
                _ => tenant,
            };
            for (own, value) in self.keys(reference, of, nullable) {
                if let Entry::Vacant(place) = wanted.fixed.entry(own.clone()) {
                    place.insert(value);
                    if columns.get(own.as_str()).is_some_and(|own| !own.not_null) {
                        wanted.loose.insert(own);
                    }
                }
            }
        }
        for (parent, own, key) in self.joined(relation) {
            let Some(column) = columns.get(own) else {
                continue;
            };
            let value = self
                .stage
                .row(parent, tenant)
                .and_then(|made| made.values.get(key))
                .and_then(text_of)
                .map(|text| format!("{}::{}", Literal::new(text), column.type_name))
                .or_else(|| self.existing(parent, key, tenant));
            if let (Some(value), Entry::Vacant(place)) = (value, wanted.fixed.entry(own.to_owned()))
            {
                place.insert(value);
            }
        }
    }

    /// What policies find rows of other tables by, without a foreign key: (other table,
    /// own column, its column).
    pub(crate) fn joined(&self, relation: &Relation) -> Vec<(Oid, &str, &str)> {
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        let unique = |own: &str| {
            self.details.uniques.iter().any(|unique| {
                unique.relation == relation.oid
                    && unique
                        .columns
                        .iter()
                        .all(|column| column == own || Some(column.as_str()) == key)
            })
        };
        let shown: Vec<&Policy> = self
            .scope
            .policies
            .iter()
            .filter(|policy| {
                policy.relation == relation.oid
                    && policy.permissive
                    && matches!(policy.command, 'r' | '*')
                    && self.applies(&policy.roles)
            })
            .collect();
        fn finds<'p>(policy: &&'p Policy) -> &'p [Join] {
            policy.using.as_ref().map_or(&[], |using| &using.finds)
        }
        // Where there are other ways in, a row need not be found by this one.
        let every = |join: &&Join| shown.iter().all(|policy| finds(policy).contains(join));
        let names_it = |join: &&Join| {
            self.details.references.iter().any(|reference| {
                reference.relation == join.relation && reference.parent == relation.oid
            })
        };
        shown
            .first()
            .map_or(&[][..], finds)
            .iter()
            .filter(every)
            .filter(|join| !names_it(join) && join.relation != relation.oid)
            .filter(|join| {
                let other = self.scope.relation(join.relation);
                other.is_some_and(Relation::holds_tenants)
            })
            .flat_map(|join| {
                join.pairs
                    .iter()
                    .map(|(own, theirs)| (join.relation, own.as_str(), theirs.as_str()))
            })
            .filter(|(_, own, _)| Some(*own) != key && !unique(own))
            .collect()
    }

    /// The values that make a reference lead to a row of this tenant.
    pub(crate) fn keys(
        &self,
        reference: &Reference,
        tenant: usize,
        nullable: bool,
    ) -> Vec<(String, String)> {
        let parent = self.stage.row(reference.parent, tenant);
        let mut list = Vec::new();
        for (own, key) in reference.columns.iter().zip(&reference.keys) {
            let Some(column) = self
                .details
                .columns_of(reference.relation)
                .find(|column| &column.name == own)
            else {
                continue;
            };
            let value = parent
                .and_then(|made| made.values.get(key))
                .and_then(text_of)
                .map(|text| format!("{}::{}", Literal::new(text), column.type_name))
                .or_else(|| {
                    (!nullable)
                        .then(|| self.existing(reference.parent, key, tenant))
                        .flatten()
                });
            if let Some(value) = value {
                list.push((own.clone(), value));
            }
        }
        list
    }

    /// The key of any row of the tenant, or of any row where nobody owns them.
    fn existing(&self, parent: Oid, key: &str, tenant: usize) -> Option<String> {
        let relation = self.scope.relation(parent)?;
        Some(format!(
            "(select {}.{} from {}{LOOKED_UP}",
            relation.name,
            Ident::new(key),
            self.first_of(relation, tenant)
        ))
    }

    /// Where the tenant's first row is taken from.
    fn first_of(&self, relation: &Relation, tenant: usize) -> String {
        let filter = keys::own(self.scope, relation, &self.stage.tenants[tenant].id, None)
            .map_or_else(String::new, |own| format!(" where {own}"));
        // The first by place, so that it is the same each time; of a large table any.
        let order = if relation.estimate < BIG {
            format!(" order by {}.ctid", relation.name)
        } else {
            String::new()
        };
        format!("{}{filter}{order}", relation.name)
    }
}
