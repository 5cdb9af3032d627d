//! The catalogue beyond the scope: types, constraints, grants.
//! Read once, shared by synthesis, probes and algebra.

mod read;

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

pub(crate) use self::read::Early;
use super::model::{Oid, RelationKind, Scope};

/// A column, as far as making a value for it goes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ColumnDetail {
    pub(crate) relation: Oid,
    pub(crate) number: i16,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    /// `typname` of the type below every domain.
    pub(crate) base: String,
    pub(crate) base_type: String,
    pub(crate) kind: char,
    pub(crate) category: char,
    pub(crate) domain: bool,
    pub(crate) element: Option<String>,
    pub(crate) modifier: i32,
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    pub(crate) generated: bool,
    pub(crate) identity: String,
    pub(crate) default: Option<String>,
    /// What a generated column is made of.
    #[serde(default)]
    pub(crate) expression: Option<String>,
    pub(crate) labels: Option<Vec<String>>,
}

/// A CHECK constraint, or where a partition's rows must lie.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Check {
    pub(crate) relation: Oid,
    pub(crate) name: String,
    pub(crate) check: String,
    pub(crate) columns: Option<Vec<i16>>,
}

/// A CHECK of a domain; speaks of `VALUE`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DomainCheck {
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) check: String,
}

/// A foreign key.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reference {
    pub(crate) relation: Oid,
    pub(crate) name: String,
    pub(crate) parent: Oid,
    pub(crate) columns: Vec<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) valid: bool,
    /// What becomes of rows whose parent goes or changes: `a` or `r` is nothing.
    pub(crate) on_delete: char,
    pub(crate) on_update: char,
}

impl Reference {
    /// A change of the parent's row changes the child's.
    pub(crate) fn cascades(&self) -> bool {
        [self.on_delete, self.on_update]
            .iter()
            .any(|action| matches!(action, 'c' | 'n' | 'd'))
    }
}

/// A unique index or exclusion constraint.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Unique {
    pub(crate) relation: Oid,
    pub(crate) name: String,
    /// Neither partial, nor over expressions, nor an exclusion.
    pub(crate) plain: bool,
    pub(crate) columns: Vec<String>,
}

/// What a role may do with a relation in a schema that it may use.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Grant {
    pub(crate) role: Oid,
    pub(crate) relation: Oid,
    pub(crate) select: bool,
    pub(crate) insert: bool,
    pub(crate) delete: bool,
    /// Column to any of `r`, `a`, `w`; none where there is no such privilege.
    pub(crate) columns: Option<BTreeMap<String, String>>,
}

impl Grant {
    /// The columns that carry this right.
    pub(crate) fn columns(&self, right: char) -> Vec<&str> {
        self.columns
            .iter()
            .flatten()
            .filter(|(_, rights)| rights.contains(right))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Keeps of the rights to write what some relation below holds too; tells
    /// whether any was lost.
    fn narrow(&mut self, under: &[(Self, Vec<&str>)]) -> bool {
        let mut changed = false;
        if self.delete && !under.iter().any(|(grant, _)| grant.delete) {
            self.delete = false;
            changed = true;
        }
        for (name, rights) in self.columns.iter_mut().flatten() {
            let bearing: Vec<&Self> = under
                .iter()
                .filter(|(_, columns)| columns.contains(&name.as_str()))
                .map(|(grant, _)| grant)
                .collect();
            for right in ['a', 'w'] {
                let lost =
                    !bearing.is_empty() && !bearing.iter().any(|grant| grant.column(name, right));
                if lost && rights.contains(right) {
                    rights.retain(|own| own != right);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether this column carries this right.
    pub(crate) fn column(&self, name: &str, right: char) -> bool {
        self.columns
            .as_ref()
            .and_then(|columns| columns.get(name))
            .is_some_and(|rights| rights.contains(right))
    }
}

/// An argument of a function.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Argument {
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) base: String,
}

/// A function, as far as calling it goes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FunctionDetail {
    pub(crate) oid: Oid,
    pub(crate) language: String,
    pub(crate) body: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) variadic: bool,
    /// It gives nothing back.
    pub(crate) void: bool,
    pub(crate) roles: Vec<Oid>,
}

/// All of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub(crate) columns: Vec<ColumnDetail>,
    pub(crate) domain_checks: Vec<DomainCheck>,
    pub(crate) checks: Vec<Check>,
    pub(crate) references: Vec<Reference>,
    pub(crate) uniques: Vec<Unique>,
    pub(crate) triggers: Vec<Oid>,
    /// (relation, right) of commands that a rule answers with others: `w`, `a` or `d`.
    rules: Vec<(Oid, char)>,
    /// (view, relation it reads), direct.
    pub(crate) uses: Vec<(Oid, Oid)>,
    /// Views that take writes.
    #[serde(rename = "barrier")]
    pub(crate) writable_views: Vec<Oid>,
    /// Views that read and write with the rights of who uses them.
    invokers: Vec<Oid>,
    /// (view, text) of views whose owners RLS does not bind.
    pub(crate) definitions: Vec<(Oid, String)>,
    /// (relation, column) that a view asks to hold something.
    pub(crate) asked: Vec<(Oid, String)>,
    /// Owners of views, and of triggers' functions, whom RLS does not bind.
    pub(crate) unbound_owners: Vec<Oid>,
    grants: Vec<Grant>,
    pub(crate) functions: Vec<FunctionDetail>,
    #[serde(skip)]
    by_relation: HashMap<Oid, Vec<usize>>,
    #[serde(skip)]
    by_grant: HashMap<(Oid, Oid), usize>,
}

impl Details {
    /// Whether a rule answers a command with another one, so that its own count tells nothing.
    pub(crate) fn answered(&self, relation: Oid, right: char) -> bool {
        self.rules.contains(&(relation, right))
    }

    /// Takes away what a view grants and the relations below it do not, where the
    /// view works with the rights of who uses it. Columns are told by their names.
    fn narrow(&mut self) {
        // Once per level of views over views.
        for _ in 0..4 {
            let mut changed = false;
            for at in 0..self.grants.len() {
                let (role, view) = (self.grants[at].role, self.grants[at].relation);
                if !self.invokers.contains(&view) || self.triggers.contains(&view) {
                    continue;
                }
                let under: Vec<(Grant, Vec<&str>)> = self
                    .uses
                    .iter()
                    .filter(|(user, _)| *user == view)
                    .map(|(_, below)| {
                        let grant = self.grant(role, *below).cloned().unwrap_or_default();
                        let columns = self.columns_of(*below);
                        (grant, columns.map(|column| column.name.as_str()).collect())
                    })
                    .collect();
                let mut grant = self.grants[at].clone();
                changed |= grant.narrow(&under);
                drop(under);
                self.grants[at] = grant;
            }
            if !changed {
                return;
            }
        }
    }

    /// Whether a view works with the rights of who uses it.
    pub(crate) fn invokes(&self, view: Oid) -> bool {
        self.invokers.contains(&view)
    }

    /// The tables below a view, each with the owner of the view that reads it, or
    /// none where that works with the rights of who uses it. None where rows are not
    /// reached through plain views alone.
    pub(crate) fn reached_as(&self, view: Oid, scope: &Scope) -> Option<Vec<(Oid, Option<Oid>)>> {
        let mut seen = vec![view];
        let mut tables = Vec::new();
        let mut at = 0;
        while let Some(&current) = seen.get(at) {
            at += 1;
            let relation = scope.relation(current)?;
            if relation.kind != RelationKind::View || self.triggers.contains(&current) {
                return None;
            }
            let owner = (!self.invokes(current)).then_some(relation.owner);
            let mut views = Vec::new();
            for (_, used) in self.uses.iter().filter(|(user, _)| *user == current) {
                match scope.relation(*used).map(|below| below.kind) {
                    None => {}
                    Some(RelationKind::View | RelationKind::MaterializedView) => {
                        views.push(*used);
                    }
                    Some(_) => tables.push((*used, owner)),
                }
            }
            views.retain(|view| !seen.contains(view));
            seen.extend(views);
        }
        Some(tables)
    }

    /// The live columns of a relation, in order.
    pub(crate) fn columns_of(&self, relation: Oid) -> impl Iterator<Item = &ColumnDetail> {
        self.by_relation
            .get(&relation)
            .into_iter()
            .flatten()
            .map(|index| &self.columns[*index])
    }

    /// What a role may do with a relation; none where it reaches nothing of it.
    pub(crate) fn grant(&self, role: Oid, relation: Oid) -> Option<&Grant> {
        self.by_grant
            .get(&(role, relation))
            .map(|index| &self.grants[*index])
    }

    /// Whether some role holds a privilege on a relation.
    pub(crate) fn granted(&self, relation: Oid) -> bool {
        self.grants.iter().any(|grant| grant.relation == relation)
    }

    /// The tables below a view, through views.
    pub(crate) fn tables_below(&self, view: Oid, scope: &Scope) -> Vec<Oid> {
        let mut seen = vec![view];
        let mut tables = Vec::new();
        let mut at = 0;
        while let Some(&current) = seen.get(at) {
            at += 1;
            for (_, used) in self.uses.iter().filter(|(user, _)| *user == current) {
                if seen.contains(used) {
                    continue;
                }
                seen.push(*used);
                if scope.relation(*used).is_some_and(|relation| {
                    !matches!(
                        relation.kind,
                        RelationKind::View | RelationKind::MaterializedView
                    )
                }) {
                    tables.push(*used);
                }
            }
        }
        tables
    }
}
