//! The snapshot as the server hands it over, before names are resolved.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::verify::model::Oid;

#[derive(Debug, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) server_version: i32,
    pub(crate) today: String,
    pub(crate) user: User,
    pub(crate) schemas: Vec<String>,
    pub(crate) roles: Vec<Role>,
    pub(crate) members: Vec<Member>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) references: Vec<Reference>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) functions: Vec<Function>,
    /// Places in `relations` and in `functions`: with many tables they are asked for
    /// once for each policy and column of each.
    #[serde(skip)]
    places: OnceLock<[HashMap<Oid, usize>; 2]>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) superuser: bool,
    pub(crate) unbound: bool,
    pub(crate) may_become_unbound: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Role {
    pub(crate) oid: Oid,
    pub(crate) name: String,
    pub(crate) superuser: bool,
    pub(crate) bypass: bool,
    pub(crate) login: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) role: Oid,
    pub(crate) member: Oid,
    /// The member has the role's rights without taking it.
    pub(crate) inherits: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Relation {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: char,
    pub(crate) owner: Oid,
    pub(crate) rls: bool,
    pub(crate) force: bool,
    pub(crate) estimate: f32,
    pub(crate) parents: Vec<Oid>,
    pub(crate) grantees: Vec<Oid>,
    pub(crate) columns: Vec<Column>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Column {
    pub(crate) number: i16,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) not_null: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Reference {
    pub(crate) child: Oid,
    pub(crate) parent: Oid,
    pub(crate) columns: Vec<i16>,
    pub(crate) targets: Vec<i16>,
    /// No two rows of the child refer to the same one.
    pub(crate) single: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Policy {
    pub(crate) oid: Oid,
    pub(crate) relation: Oid,
    pub(crate) name: String,
    pub(crate) permissive: bool,
    pub(crate) command: char,
    pub(crate) roles: Vec<Oid>,
    pub(crate) using: Option<String>,
    pub(crate) check: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Function {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) owner: Oid,
    pub(crate) definer: bool,
    pub(crate) kind: char,
    pub(crate) volatility: char,
    pub(crate) language: String,
    pub(crate) arguments: String,
    pub(crate) trigger: bool,
    /// Its parameters that hold text, of a trigger the columns (`new.name`), where it runs with its owner's rights.
    pub(crate) parameters: Vec<String>,
    pub(crate) source: Option<String>,
}

impl Snapshot {
    pub(crate) fn role(&self, oid: Oid) -> Option<&Role> {
        self.roles.iter().find(|role| role.oid == oid)
    }

    pub(crate) fn role_named(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    pub(crate) fn function(&self, oid: Oid) -> Option<&Function> {
        let [_, functions] = self.places();
        self.functions.get(*functions.get(&oid)?)
    }

    pub(crate) fn relation(&self, oid: Oid) -> Option<&Relation> {
        let [relations, _] = self.places();
        self.relations.get(*relations.get(&oid)?)
    }

    fn places(&self) -> &[HashMap<Oid, usize>; 2] {
        self.places.get_or_init(|| {
            let places = |oids: &mut dyn Iterator<Item = Oid>| {
                oids.enumerate().map(|(place, oid)| (oid, place)).collect()
            };
            [
                places(&mut self.relations.iter().map(|one| one.oid)),
                places(&mut self.functions.iter().map(|one| one.oid)),
            ]
        })
    }
}

impl Relation {
    pub(crate) fn column(&self, number: i16) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }

    pub(crate) fn column_named(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}
