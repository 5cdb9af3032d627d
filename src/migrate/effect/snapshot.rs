//! One look at the catalogue, and the texts of policies that go with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::migrate::effect::acl::{PUBLIC, Rights};

const SNAPSHOT: &str = include_str!("snapshot.sql");
const POLICIES: &str = include_str!("policies.sql");

/// An object's id in the catalogue.
pub(super) type Oid = i64;

type Acl = Option<Vec<String>>;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Role {
    id: Oid,
    name: String,
    pub(super) powers: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Schema {
    pub(super) id: Oid,
    pub(super) name: String,
    pub(super) owner: Oid,
    pub(super) acl: Acl,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Relation {
    pub(super) id: Oid,
    pub(super) name: String,
    pub(super) kind: char,
    pub(super) owner: Oid,
    acl: Acl,
    pub(super) rls: bool,
    pub(super) force: bool,
    options: Acl,
    pub(super) rule: Option<String>,
}

impl Relation {
    /// As users call it.
    pub(super) fn object(&self) -> String {
        let kind = match self.kind {
            'v' => "view",
            'm' => "materialized view",
            'f' => "foreign table",
            'S' => "sequence",
            _ => "table",
        };
        format!("{kind} {}", self.name)
    }

    /// An option of a view that is on.
    pub(super) fn option(&self, name: &str) -> bool {
        let on = |value: &str| matches!(value, "true" | "on" | "1" | "yes");
        self.options.iter().flatten().any(|option| {
            option
                .split_once('=')
                .is_some_and(|(key, value)| key == name && on(&value.to_ascii_lowercase()))
        })
    }

    /// What of its kind it may be replaced by.
    pub(super) fn class(&self) -> char {
        match self.kind {
            'p' => 'r',
            kind => kind,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Column {
    relation: Oid,
    name: String,
    acl: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Policy {
    pub(super) id: Oid,
    pub(super) relation: Oid,
    pub(super) name: String,
    pub(super) permissive: bool,
    pub(super) command: char,
    pub(super) roles: Vec<Oid>,
    pub(super) stored: String,
    pub(super) calls: Option<Vec<Oid>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Function {
    pub(super) id: Oid,
    pub(super) name: String,
    pub(super) owner: Oid,
    pub(super) acl: Acl,
    pub(super) definer: bool,
    pub(super) trigger: bool,
    pub(super) trusted: bool,
    pub(super) settings: Acl,
    pub(super) body: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Trigger {
    pub(super) relation: Oid,
    pub(super) name: String,
    pub(super) enabled: char,
    pub(super) function: Oid,
    pub(super) what: String,
}

#[derive(Debug, Deserialize)]
struct Member {
    role: Oid,
    member: Oid,
    admin: bool,
    passive: bool,
}

#[derive(Debug, Deserialize)]
struct Parent {
    child: Oid,
    parent: Oid,
}

#[derive(Debug, Deserialize)]
struct Rule {
    relation: Oid,
    name: String,
    what: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    what: String,
    #[serde(default)]
    acl: Acl,
}

#[derive(Debug, Deserialize)]
struct Default_ {
    owner: Oid,
    schema: Oid,
    kind: char,
    acl: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Setting {
    role: Oid,
    settings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Database {
    owner: Oid,
    acl: Vec<String>,
}

/// One look.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) roles: BTreeMap<Oid, Role>,
    /// Role and member: with the right to admit others, and whether it is of no use.
    pub(super) members: BTreeMap<(Oid, Oid), (bool, bool)>,
    pub(super) schemas: Vec<Schema>,
    pub(super) relations: BTreeMap<Oid, Relation>,
    columns: Vec<Column>,
    /// Child and parent.
    pub(super) parents: Vec<(Oid, Oid)>,
    pub(super) policies: Vec<Policy>,
    pub(super) functions: BTreeMap<Oid, Function>,
    pub(super) triggers: Vec<Trigger>,
    /// Relation and name of a rule, with its hash.
    pub(super) rules: BTreeMap<(Oid, String), String>,
    pub(super) extensions: Vec<String>,
    pub(super) publications: BTreeMap<String, String>,
    /// What is granted on objects without rows of their own: title, rights.
    pub(super) others: BTreeMap<String, Rights>,
    /// Who the settings are for, and what they say.
    pub(super) settings: BTreeMap<Oid, Vec<String>>,
}

impl Snapshot {
    /// Looks at all. `simple`: without a prepared statement.
    pub(super) async fn read(conn: &mut PgConnection, simple: bool) -> anyhow::Result<Self> {
        Self::look(conn, simple, None).await
    }

    /// Looks at some relations and functions again; the rest is as it was.
    pub(super) async fn read_again(
        &self,
        conn: &mut PgConnection,
        simple: bool,
        only: &[u32],
    ) -> anyhow::Result<Self> {
        let seen = Self::look(conn, simple, Some(only)).await?;
        let ids: BTreeSet<Oid> = only.iter().copied().map(Oid::from).collect();
        let other = |id: &Oid| !ids.contains(id);
        let mut all = self.clone();
        all.relations.retain(|id, _| other(id));
        all.relations.extend(seen.relations);
        all.columns.retain(|one| other(&one.relation));
        all.columns.extend(seen.columns);
        all.parents.retain(|(child, _)| other(child));
        all.parents.extend(seen.parents);
        all.policies.retain(|one| other(&one.relation));
        all.policies.extend(seen.policies);
        all.functions.retain(|id, _| other(id));
        all.functions.extend(seen.functions);
        all.triggers.retain(|one| other(&one.relation));
        all.triggers.extend(seen.triggers);
        all.rules.retain(|(relation, _), _| other(relation));
        all.rules.extend(seen.rules);
        Ok(all)
    }

    async fn look(
        conn: &mut PgConnection,
        simple: bool,
        only: Option<&[u32]>,
    ) -> anyhow::Result<Self> {
        let rows = if simple {
            let list = only.map_or_else(
                || "null".to_owned(),
                |only| {
                    let ids: Vec<String> = only.iter().map(u32::to_string).collect();
                    format!("'{{{}}}'", ids.join(","))
                },
            );
            let text = AssertSqlSafe(SNAPSHOT.replace("$1", &list));
            (&mut *conn).fetch_all(sqlx::raw_sql(text)).await
        } else {
            let only: Option<Vec<sqlx::postgres::types::Oid>> = only.map(|only| {
                only.iter()
                    .copied()
                    .map(sqlx::postgres::types::Oid)
                    .collect()
            });
            // A plan that is kept for both would read whole catalogues for a few objects.
            let text = match only {
                Some(_) => SNAPSHOT.replace("($1::oid[] is null or ", "("),
                None => SNAPSHOT.to_owned(),
            };
            conn.fetch_all(sqlx::query(AssertSqlSafe(text)).bind(only))
                .await
        };
        let mut snapshot = Self::default();
        let mut defaults = Vec::new();
        let mut databases = Vec::new();
        for row in rows.context("cannot look at who reaches which rows")? {
            let (kind, body): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            match kind {
                "role" => {
                    let role: Role = serde_json::from_str(body)?;
                    snapshot.roles.insert(role.id, role);
                }
                "member" => {
                    let one: Member = serde_json::from_str(body)?;
                    let members = &mut snapshot.members;
                    members.insert((one.role, one.member), (one.admin, one.passive));
                }
                "schema" => snapshot.schemas.push(serde_json::from_str(body)?),
                "relation" => {
                    let relation: Relation = serde_json::from_str(body)?;
                    snapshot.relations.insert(relation.id, relation);
                }
                "column" => snapshot.columns.push(serde_json::from_str(body)?),
                "parent" => {
                    let one: Parent = serde_json::from_str(body)?;
                    snapshot.parents.push((one.child, one.parent));
                }
                "policy" => snapshot.policies.push(serde_json::from_str(body)?),
                "function" => {
                    let function: Function = serde_json::from_str(body)?;
                    snapshot.functions.insert(function.id, function);
                }
                "trigger" => snapshot.triggers.push(serde_json::from_str(body)?),
                "rule" => {
                    let rule: Rule = serde_json::from_str(body)?;
                    snapshot.rules.insert((rule.relation, rule.name), rule.what);
                }
                "extension" => {
                    let one: Named = serde_json::from_str(body)?;
                    snapshot.extensions.push(one.name);
                }
                "publication" => {
                    let one: Named = serde_json::from_str(body)?;
                    snapshot.publications.insert(one.name, one.what);
                }
                "default" => defaults.push(serde_json::from_str::<Default_>(body)?),
                "setting" => {
                    let one: Setting = serde_json::from_str(body)?;
                    let settings = &mut snapshot.settings;
                    settings.entry(one.role).or_default().extend(one.settings);
                }
                "database" => databases.push(serde_json::from_str::<Database>(body)?),
                "server" | "parameter" => {
                    let title = if kind == "server" {
                        "foreign server"
                    } else {
                        kind
                    };
                    let one: Named = serde_json::from_str(body)?;
                    let rights = Rights::of(&one.acl.unwrap_or_default(), "");
                    snapshot
                        .others
                        .insert(format!("{title} {}", one.name), rights);
                }
                other => anyhow::bail!("the catalogue told of `{other}`, which nobody asked for"),
            }
        }
        for one in databases {
            let rights = Rights::of(&one.acl, snapshot.role(one.owner));
            snapshot.others.insert("the database".to_owned(), rights);
        }
        for one in defaults {
            let title = snapshot.title_of_defaults(&one);
            let rights = Rights::of(&one.acl, snapshot.role(one.owner));
            snapshot.others.insert(title, rights);
        }
        Ok(snapshot)
    }

    fn title_of_defaults(&self, one: &Default_) -> String {
        let kind = match one.kind {
            'r' => "tables",
            'S' => "sequences",
            'f' => "functions",
            'T' => "types",
            'n' => "schemas",
            _ => "large objects",
        };
        let place = self.schemas.iter().find(|schema| schema.id == one.schema);
        let place = place.map_or(String::new(), |schema| {
            format!(" in schema {}", schema.name)
        });
        format!(
            "default privileges for {kind} of {}{place}",
            self.role(one.owner)
        )
    }

    /// A role's name; zero is everybody.
    pub(super) fn role(&self, id: Oid) -> &str {
        match self.roles.get(&id) {
            Some(role) => &role.name,
            None if id == 0 => PUBLIC,
            None => "a dropped role",
        }
    }

    /// The role and all that it is a member of, directly or through others.
    pub(super) fn made_of(&self, role: Oid) -> BTreeSet<Oid> {
        let mut all = BTreeSet::from([role]);
        let mut next = vec![role];
        while let Some(one) = next.pop() {
            let edges = self.members.iter();
            let of = edges.filter(|((_, member), (_, passive))| *member == one && !passive);
            next.extend(of.map(|((role, _), _)| *role).filter(|id| all.insert(*id)));
        }
        all
    }

    /// What is granted on the whole relation.
    pub(super) fn rights(&self, relation: &Relation) -> Rights {
        let items = relation.acl.as_deref().unwrap_or_default();
        Rights::of(items, self.role(relation.owner))
    }

    /// What is granted on single columns, by name.
    pub(super) fn column_rights(&self, relation: &Relation) -> BTreeMap<&str, Rights> {
        self.columns
            .iter()
            .filter(|column| column.relation == relation.id)
            .map(|column| {
                let rights = Rights::of(&column.acl, self.role(relation.owner));
                (column.name.as_str(), rights)
            })
            .collect()
    }

    /// Both together.
    pub(super) fn reach(&self, relation: &Relation) -> Rights {
        let mut all = self.rights(relation);
        for rights in self.column_rights(relation).values() {
            all.join(rights);
        }
        all
    }

    /// The policies of a relation.
    pub(super) fn policies_of(&self, relation: Oid) -> Vec<&Policy> {
        let own = self.policies.iter();
        own.filter(|policy| policy.relation == relation).collect()
    }
}

/// USING and WITH CHECK of a policy, as the server prints them.
pub(super) type Text = (Option<String>, Option<String>);

/// The texts of all policies seen, by id and stored form: each is asked for once.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<(Oid, String), Text>);

impl Texts {
    /// Asks for those that are new in this look.
    pub(super) async fn add(
        &mut self,
        conn: &mut PgConnection,
        snapshot: &Snapshot,
        in_transaction: bool,
    ) -> anyhow::Result<()> {
        let key = |policy: &Policy| (policy.id, policy.stored.clone());
        let new = snapshot.policies.iter();
        let new: HashMap<Oid, &Policy> = new
            .filter(|policy| !self.0.contains_key(&key(policy)))
            .map(|policy| (policy.id, policy))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = new.keys().map(Oid::to_string).collect();
        let query = POLICIES.replace(":ids", &ids.join(","));
        // Names are to be printed with their schema, whatever a migration has set.
        let (open, close) = if in_transaction {
            (
                "savepoint kinedb_effect",
                "rollback to savepoint kinedb_effect; release savepoint kinedb_effect",
            )
        } else {
            ("begin", "rollback")
        };
        let text = format!("{open}; set local search_path = pg_catalog; {query}; {close}");
        let rows = (&mut *conn)
            .fetch_all(sqlx::raw_sql(AssertSqlSafe(text)))
            .await
            .context("cannot read the text of policies")?;
        for row in rows {
            let id: Oid = row.try_get(0)?;
            if let Some(policy) = new.get(&id) {
                self.0
                    .insert(key(policy), (row.try_get(1)?, row.try_get(2)?));
            }
        }
        Ok(())
    }

    /// USING and the condition on new rows, which is USING where no other is given.
    pub(super) fn of(&self, policy: &Policy) -> (Option<&str>, Option<&str>) {
        match self.0.get(&(policy.id, policy.stored.clone())) {
            Some((using, check)) => (using.as_deref(), check.as_deref().or(using.as_deref())),
            None => (None, None),
        }
    }
}
