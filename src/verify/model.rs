//! The scope of a verification: what was told by configuration or detected,
//! with every name resolved against one snapshot of the catalogue.
//!
//! Made once by `scope`, read by every source. Holds no connection, decides
//! nothing. Serialised as one jsonb value, it is what the SQL checks read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use serde::Serialize;
use sqlx::postgres::PgConnectOptions;

use super::held::Held;
use crate::db::ident::{Ident, Qualified};

/// An object id of the server's catalogue.
pub type Oid = u32;

/// How deep a verification goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// The catalogue only: nothing is run as an acting role.
    Catalogue,
    /// All four sources.
    Full,
}

/// How a verification is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How deep it goes.
    pub depth: Depth,
    /// Nothing is written, not even inside a transaction that is rolled back.
    pub read_only: bool,
    /// All tenants instead of a sample.
    pub exhaustive: bool,
    /// Probes may take more than row locks where rows are real.
    pub write_probes: bool,
    /// `statement_timeout` of every statement.
    pub statement_timeout: Duration,
    /// `lock_timeout` of every statement.
    pub lock_timeout: Duration,
    /// The connection is already inside a migration's transaction: savepoints only, never begin or commit.
    pub in_transaction: bool,
    /// Only these relations and functions, with what depends on them; all of the scope where none.
    pub only: Option<Vec<Oid>>,
    /// How to reach the server again: for the other databases, to look for copies
    /// in them, and to read the catalogue while probes run.
    pub connect: Option<PgConnectOptions>,
    /// So many tables are probed in one transaction; more are probed in portions.
    pub at_once: usize,
    /// Checks of the catalogue that never find more than a warning are left out.
    pub errors_only: bool,
    /// The connection verifies more than once, and its session is its own: plans
    /// are kept under names.
    pub keep_plans: bool,
    /// The session held what [`compile`](super::compile) makes; where it does no more,
    /// probes run without.
    pub compiled: bool,
    /// Checks that are left out, because there is nothing for them to look at, are
    /// run all the same, and it is an error where one finds something: for tests.
    pub hold_needs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: Depth::Full,
            read_only: false,
            exhaustive: false,
            write_probes: false,
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_millis(500),
            in_transaction: false,
            only: None,
            connect: None,
            at_once: 250,
            errors_only: false,
            keep_plans: false,
            compiled: false,
            hold_needs: false,
        }
    }
}

/// Everything the sources need to know.
#[derive(Debug, Clone, Serialize)]
pub struct Scope {
    /// `server_version_num`.
    pub server_version: i32,
    /// The user that verifies, and whether RLS binds it.
    pub verifier: Verifier,
    /// The schemas looked at.
    pub schemas: Vec<String>,
    /// The tenants to act for.
    pub tenants: Tenants,
    /// Statements that put a session into a tenant's context; `:tenant` and `:user` stand for quoted text literals.
    pub context: Vec<String>,
    /// Settings (GUC names) that the context sets.
    pub context_settings: Vec<String>,
    /// Settings that the context sets or that policies and the functions they call read.
    pub settings: Vec<String>,
    /// What a session without context must get.
    pub no_context: NoContext,
    /// The roles to act as.
    pub roles: Vec<ActingRole>,
    /// Tables, partitions, foreign tables, views and materialised views of the schemas looked at.
    pub relations: Vec<Relation>,
    /// Tables of other schemas that rows of these refer to: rows are made there, nothing
    /// is proven of them.
    #[serde(skip)]
    pub outside: Vec<Relation>,
    /// Functions and procedures of every schema but the system's.
    pub functions: Vec<Function>,
    /// Policies of the relations above.
    pub policies: Vec<Policy>,
    /// Ids of checks whose warnings and notes count as errors here.
    pub strict: Vec<String>,
    /// Declared exceptions, in force or expired.
    pub exceptions: Vec<Exception>,
    /// What was assumed because nothing told it, as sentences for the report.
    pub assumptions: Vec<String>,
    /// The users that were found for tenants, for predicates that speak of `:user`.
    #[serde(skip)]
    pub users: Users,
    /// What rows of memberships should hold for their users to act.
    #[serde(skip)]
    pub preferred: Vec<Preferred>,
    /// Lists of who runs the platform, where no user of a tenant stands.
    #[serde(skip)]
    pub platform: Vec<Oid>,
    /// (table, column) whose values include ranks that open every tenant's rows.
    pub ranks: Vec<(Oid, Ident)>,
    /// Alternatives of policies that an exception for shared rows declares: relation, text, role.
    pub declared: Vec<(Oid, String, Option<String>)>,
    /// Asks the table of memberships for the tenants that `:user` belongs to.
    #[serde(skip)]
    pub memberships: Option<String>,
    /// What another session holds, so that it is neither read nor proven.
    pub held: Held,
    /// Where a relation is in `relations` and, after those, in `outside`.
    #[serde(skip)]
    pub(crate) places: OnceLock<HashMap<Oid, usize>>,
}

/// Values of a column that policies ask a member's row for.
#[derive(Debug, Clone)]
pub struct Preferred {
    /// The table of memberships.
    pub relation: Oid,
    /// Its column.
    pub column: Ident,
    /// It holds several at once.
    pub list: bool,
    /// Literals that policies compare it with, those that most of them ask for first.
    pub values: Vec<String>,
    /// Those that open every tenant's rows: ranks on the whole platform.
    pub avoid: Vec<String>,
}

/// The tenants of a run with a user of each, as the roles' queries gave them.
#[derive(Debug, Clone, Default)]
pub struct Users(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    first: HashMap<String, String>,
    also: HashMap<String, BTreeSet<String>>,
    tenants: BTreeSet<String>,
}

impl Users {
    /// The user to act for in a tenant.
    pub fn of(&self, tenant: &str) -> Option<String> {
        self.0.read().ok()?.first.get(tenant).cloned()
    }

    /// Remembers the first user that was found for a tenant.
    pub fn found(&self, tenant: &str, user: &str) {
        if let Ok(mut users) = self.0.write() {
            users
                .first
                .entry(tenant.to_owned())
                .or_insert_with(|| user.to_owned());
        }
    }

    /// The tenants that rows are looked at and made for, those among them that were made up.
    pub fn tenants(&self) -> BTreeSet<String> {
        let known = self.0.read().ok();
        known.map(|known| known.tenants.clone()).unwrap_or_default()
    }

    /// Remembers tenants that rows are looked at or made for.
    pub fn meet(&self, tenants: impl IntoIterator<Item = String>) {
        if let Ok(mut users) = self.0.write() {
            users.tenants.extend(tenants);
        }
    }

    /// The other tenants that the users acted for in this one belong to: their rows are
    /// no strangers'.
    pub fn also(&self, tenant: &str) -> BTreeSet<String> {
        let known = self.0.read().ok();
        known
            .and_then(|known| known.also.get(tenant).cloned())
            .unwrap_or_default()
    }

    /// Remembers tenants that a user of this one belongs to.
    pub fn belong(&self, tenant: &str, others: impl IntoIterator<Item = String>) {
        if let Ok(mut users) = self.0.write() {
            let others = others.into_iter().filter(|other| other != tenant);
            users
                .also
                .entry(tenant.to_owned())
                .or_default()
                .extend(others);
        }
    }
}

/// The user whose connection verifies.
#[derive(Debug, Clone, Serialize)]
pub struct Verifier {
    /// `current_user`.
    pub name: String,
    /// Superuser.
    pub superuser: bool,
    /// RLS does not bind it (superuser or BYPASSRLS), so it can count real rows.
    pub unbound: bool,
    /// It may become a role that RLS does not bind: that role.
    pub may_become_unbound: Option<Ident>,
}

/// The tenants of the database.
#[derive(Debug, Clone, Serialize)]
pub struct Tenants {
    /// The ids to act for, as text, chosen so that they resemble each other where
    /// possible; all of them with `--exhaustive`. Empty where the database has none:
    /// synthetic tenants are made then.
    pub sample: Vec<String>,
    /// How many there are.
    pub total: u64,
    /// The query or list they came from, for the report; none where it was not found.
    pub source: Option<String>,
    /// Why the verifier could not ask for them, where it could not.
    pub unasked: Option<String>,
    /// The table that holds one row per tenant, if known, and its key column.
    pub table: Option<(Oid, Ident)>,
    /// The ids are listed in the configuration, and that table is empty: their rows are
    /// made there, too.
    pub absent: bool,
}

/// What a session without a tenant must get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoContext {
    /// No rows, or an error.
    Deny,
    /// The rows of this tenant: a declared default.
    Tenant(String),
    /// The role is the context; there is nothing to leave out.
    None,
}

/// A role that the application acts as.
#[derive(Debug, Clone, Serialize)]
pub struct ActingRole {
    /// Its oid.
    pub oid: Oid,
    /// Its name.
    pub name: Ident,
    /// The session user, where it is another role.
    pub login: Option<Ident>,
    /// The URL to connect with for real. Never serialised: it may hold a password.
    #[serde(skip)]
    pub url: Option<String>,
    /// How the probes become this role.
    pub act_as: ActAs,
    /// This role's own way into a context; run as the login, before the role is taken.
    pub context: Option<Vec<String>>,
    /// A query (with `:tenant`) for the user to act for inside a tenant.
    pub user: Option<String>,
    /// Only this tenant is reached by this role (role per tenant); `UNKNOWN_TENANT`
    /// where it is not known which.
    pub tenant: Option<String>,
    /// What the role is meant to reach.
    pub scope: RoleScope,
    /// Columns that a role of scope `All` may read, as (relation, attnum).
    pub columns: Vec<(Oid, i16)>,
    /// Every role it is a member of or can become, itself included.
    pub reach: Vec<Oid>,
    /// Superuser or BYPASSRLS, itself or by a role it can become.
    pub bypasses: bool,
    /// The configuration names it; otherwise it was found by its rights.
    pub declared: bool,
}

/// No tenant's id: of a role that acts for one, of which nothing tells which.
pub const UNKNOWN_TENANT: &str = "";

/// How the probes become a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActAs {
    /// `SET LOCAL ROLE`.
    SetRole,
    /// `SET LOCAL SESSION AUTHORIZATION` (superuser only), then `SET ROLE` where login and role differ.
    SessionAuthorization,
    /// A connection of its own.
    Login,
}

/// What a role is meant to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleScope {
    /// One tenant at a time.
    Tenant,
    /// Global and shared rows only.
    Shared,
    /// Reads the listed columns of all tenants, writes nothing.
    All,
    /// Bypasses by design; not probed.
    Trusted,
}

/// A table, partition, foreign table, view or materialised view.
#[derive(Debug, Clone, Serialize)]
pub struct Relation {
    /// Its oid.
    pub oid: Oid,
    /// Its name.
    pub name: Qualified,
    /// `human` form of the name, as findings write it.
    pub label: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its owner.
    pub owner: Oid,
    /// ENABLE ROW LEVEL SECURITY.
    pub rls: bool,
    /// FORCE ROW LEVEL SECURITY.
    pub force: bool,
    /// The partitioned or inherited parents.
    pub parents: Vec<Oid>,
    /// `pg_class.reltuples`, below zero where unknown: to choose between exact and sampled counts.
    pub estimate: f32,
    /// Live columns in order.
    pub columns: Vec<Column>,
    /// How a row tells its tenant.
    pub tenant: TenantKey,
    /// Predicate: which own rows the roles are meant to see.
    pub visible: Option<String>,
    /// Tables whose rows share rows of this one with other tenants.
    pub shared: Vec<Shared>,
    /// Append-only or WORM.
    pub append_only: bool,
}

/// How rows of one table share rows of another with a tenant.
#[derive(Debug, Clone, Serialize)]
pub struct Shared {
    /// The table that names the row and the tenant.
    pub link: Oid,
    /// With `:tenant`: the rows that are shared with it.
    pub predicate: String,
    /// (link's column, column of the row) by which it names the row.
    #[serde(skip)]
    pub columns: Vec<(Ident, Ident)>,
    /// The link's column that holds the tenant of the row, where it holds that too.
    pub stamp: Option<Ident>,
    /// The link's column that names the row.
    pub refers: Ident,
    /// The row's column that it names.
    pub target: Ident,
    /// The link's column that names the tenant.
    pub receiver: Ident,
}

/// The kinds of relation that hold or show rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelationKind {
    Table,
    PartitionedTable,
    ForeignTable,
    View,
    MaterializedView,
}

/// A live column.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// `attnum`.
    pub number: i16,
    /// Its name.
    pub name: Ident,
    /// `format_type`.
    pub type_name: String,
    /// NOT NULL, by column or domain.
    pub not_null: bool,
    /// It must not be readable by any acting role.
    pub sensitive: bool,
}

/// How a row tells its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantKey {
    /// A column holds it. NULL means a shared row where `nullable`.
    Column {
        column: Ident,
        type_name: String,
        nullable: bool,
    },
    /// An SQL expression over the row gives it as text.
    Expression(String),
    /// Owned through a foreign key: (own columns, parent, parent's columns).
    Parent {
        columns: Vec<Ident>,
        parent: Oid,
        references: Vec<Ident>,
    },
    /// A predicate with `:tenant` (and `:user`) says whose row it is.
    Owns(String),
    /// Declared global by an exception: the same for every tenant.
    Global,
    /// Nothing tells: a finding if an acting role can reach it.
    Unknown,
}

/// A policy, with what its text says about the tie between row and session.
#[derive(Debug, Clone, Serialize)]
pub struct Policy {
    /// Its oid.
    pub oid: Oid,
    /// The relation it stands on.
    pub relation: Oid,
    /// Its name.
    pub name: Ident,
    /// PERMISSIVE (widens) or RESTRICTIVE (narrows).
    pub permissive: bool,
    /// `r`, `a`, `w`, `d` or `*`, as in `pg_policy.polcmd`.
    pub command: char,
    /// The roles it applies to; 0 is PUBLIC.
    pub roles: Vec<Oid>,
    /// USING, deparsed.
    pub using: Option<Predicate>,
    /// WITH CHECK, deparsed; where it is none, USING serves.
    pub check: Option<Predicate>,
}

impl Policy {
    /// What it says: USING, and WITH CHECK where that is written.
    pub fn predicates(&self) -> impl Iterator<Item = &Predicate> {
        self.using.iter().chain(&self.check)
    }

    /// What the policies on a relation say.
    pub(crate) fn on(policies: &[Self], relation: Oid) -> impl Iterator<Item = &Predicate> {
        policies
            .iter()
            .filter(move |policy| policy.relation == relation)
            .flat_map(Self::predicates)
    }
}

/// A deparsed predicate and its shape.
#[derive(Debug, Clone, Serialize)]
pub struct Predicate {
    /// As `pg_get_expr` prints it.
    pub text: String,
    /// The alternatives (branches of OR) that let a row through without tying it
    /// to the session; empty where every way through is tied.
    pub open: Vec<Open>,
    /// Settings that it reads, itself or through functions.
    pub settings: Vec<String>,
    /// Functions of the database that it calls, themselves or through others.
    pub functions: Vec<Oid>,
    /// Relations that it reads, itself or through functions.
    pub reads: Vec<Oid>,
    /// Columns of its own relation that a tied comparison names.
    pub tied_columns: Vec<String>,
    /// Those of them that are tied to the session itself, not only to rows of another guarded table.
    pub session_columns: Vec<String>,
    /// Those of them that are compared for equality with the user alone.
    pub user_columns: Vec<String>,
    /// (column, setting) where one is compared with the other alone.
    #[serde(skip)]
    pub pairs: Vec<(String, String)>,
    /// It asks that a row be another user's: nobody removes his own membership.
    #[serde(skip)]
    pub spares_user: bool,
    /// Columns that are compared with the name of the role itself.
    #[serde(skip)]
    pub role_columns: Vec<String>,
    /// Alternatives that nothing ties to the session but rows of other tables, each with
    /// what it finds them by.
    pub joins: Vec<Vec<Join>>,
    /// Rows of other tables that it looks for, whatever else ties it.
    #[serde(skip)]
    pub finds: Vec<Join>,
}

/// How rows of another table are found for a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Join {
    /// The other table.
    pub relation: Oid,
    /// (own column, column of the other table), equal.
    pub pairs: Vec<(String, String)>,
    /// Other columns of the other table that are asked for.
    pub others: Vec<String>,
}

/// An alternative of a predicate that is not tied to the session's tenant.
#[derive(Debug, Clone, Serialize)]
pub struct Open {
    /// Its text.
    pub text: String,
    /// What it is.
    pub kind: OpenKind,
    /// Names of roles it asks for, where it asks only for those.
    pub roles: Vec<String>,
    /// Settings it reads.
    pub settings: Vec<String>,
    /// What it speaks of: values, keys and paths of documents.
    pub texts: Vec<String>,
}

/// The kinds of alternative that are not tied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenKind {
    /// Always true.
    True,
    /// It looks at the row only: rows of that kind are open to every tenant.
    Row,
    /// It is true of rows without a tenant: shared rows.
    SharedRows,
    /// It looks at the session only: in that state all rows are open.
    Session,
    /// It looks at who the session user is.
    Role,
    /// It reads another table without tying it to the row.
    Table,
}

/// A function or procedure.
#[derive(Debug, Clone, Serialize)]
pub struct Function {
    /// Its oid.
    pub oid: Oid,
    /// Its name.
    pub name: Qualified,
    /// `schema.name(argument types)` as findings and exceptions write it.
    pub label: String,
    /// Its owner.
    pub owner: Oid,
    /// SECURITY DEFINER.
    pub definer: bool,
    /// `f`, `p`, `a`, `w` as in `pg_proc.prokind`.
    pub kind: char,
    /// `i`, `s`, `v` as in `pg_proc.provolatile`.
    pub volatility: char,
    /// It returns `trigger` or `event_trigger`: not callable directly.
    pub trigger: bool,
    /// What its text does.
    pub body: Body,
}

/// What the text of a function does, itself and through the functions it calls.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Body {
    /// Relations that it names.
    pub reads: Vec<Oid>,
    /// Relations that it inserts into, updates, deletes from or truncates.
    pub writes: Vec<Oid>,
    /// What its UPDATE and DELETE statements find their rows by.
    pub changes: Vec<Change>,
    /// What its INSERT statements take from rows that nothing determines; of SECURITY DEFINER only.
    pub spreads: Vec<Spread>,
    /// Tables that it joins by what two tenants may both have; of SECURITY DEFINER only.
    pub strays: Vec<Stray>,
    /// Alternatives of its conditions that ask nothing of the session; of SECURITY DEFINER only.
    pub admits: Vec<Admit>,
    /// Functions that it calls.
    pub calls: Vec<Oid>,
    /// Settings that it reads.
    pub settings: Vec<String>,
    /// Settings that it sets for the transaction.
    pub sets: Vec<String>,
    /// Settings that it sets to a literal, or to each value of a loop.
    pub chooses: Vec<String>,
    /// Settings that it sets for the session, or in a way that cannot be told.
    pub session_sets: Vec<String>,
    /// Relations that it names without a schema.
    pub unqualified: Vec<String>,
    /// Columns of NEW that it assigns.
    pub assigns: Vec<String>,
    /// Its result depends on the session: settings, or who the user is.
    pub session: bool,
    /// It runs text that it puts together.
    pub dynamic: bool,
    /// The parameter that it puts into the text of a command as it is; of SECURITY DEFINER only.
    pub spliced: Option<String>,
    /// A command of its text that takes the guards off a table; of SECURITY DEFINER only.
    pub unguards: Option<&'static str>,
    /// It catches errors.
    pub swallows: bool,
    /// It raises errors.
    pub raises: bool,
    /// Views and functions of the server that show what is in all rows.
    pub server: Vec<String>,
    /// What it sends to listeners, where it sends anything.
    pub payload: Option<String>,
    /// Its language is not SQL or PL/pgSQL: nothing is known.
    pub opaque: bool,
    /// Its text, for the values that it speaks of.
    #[serde(skip)]
    pub text: String,
}

/// An UPDATE or DELETE in the text of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The relation whose rows it changes.
    pub relation: Oid,
    /// Columns, or what looks like them, that it holds equal to something.
    pub equal: Vec<String>,
    /// Something from outside of the text decides which rows it finds.
    pub asks: bool,
}

/// A value that an INSERT in the text of a function takes from rows of another table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The relation that it inserts into.
    pub relation: Oid,
    /// The column there.
    pub column: String,
    /// The relation whose rows the value comes from.
    pub source: Oid,
}

/// A table that a query in the text of a function finds rows of by equalities alone that
/// rows of several tenants may meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// The relation.
    pub relation: Oid,
    /// Columns that are held equal to something.
    pub by: Vec<String>,
    /// Columns that the conditions speak of.
    pub speaks: Vec<String>,
}

/// An alternative of a condition in the text of a function that finds rows by what they
/// hold alone, beside one that asks for the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admit {
    /// The relations whose columns it speaks of.
    pub relations: Vec<Oid>,
    /// These columns.
    pub columns: Vec<String>,
    /// It asks that something is missing: `.. is null`.
    pub missing: bool,
    /// As it is written.
    pub text: String,
}

/// A declared exception.
#[derive(Debug, Clone, Serialize)]
pub struct Exception {
    /// The object as written.
    pub object: String,
    /// What is excepted.
    pub kind: ExceptionKind,
    /// Only these rows, where given.
    pub filter: Option<String>,
    /// Only for this role, where given.
    pub role: Option<String>,
    /// Why.
    pub reason: String,
    /// The last day it holds (ISO date), where given.
    pub until: Option<String>,
    /// The day has passed.
    pub expired: bool,
}

/// What an exception allows. Everything else about the object is still checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExceptionKind {
    GlobalRead,
    GlobalWrite,
    SharedRows,
    HiddenRows,
    InsertOnly,
    BypassSetting,
    Definer,
    NoContext,
    Sensitive,
    Unproven,
}

impl Scope {
    /// The relation with this oid.
    pub fn relation(&self, oid: Oid) -> Option<&Relation> {
        let places = self.places.get_or_init(|| {
            let all = self.relations.iter().chain(&self.outside);
            let places = all.enumerate().map(|(place, one)| (one.oid, place));
            places.collect()
        });
        let place = *places.get(&oid)?;
        let outside = place.checked_sub(self.relations.len());
        outside.map_or_else(
            || self.relations.get(place),
            |place| self.outside.get(place),
        )
    }

    /// It holds one row per tenant, told by its own key: a new row is a new tenant.
    pub fn registers(&self, relation: &Relation) -> bool {
        let told = match &relation.tenant {
            TenantKey::Column { column, .. } => column,
            _ => return false,
        };
        matches!(&self.tenants.table, Some((oid, key)) if *oid == relation.oid && key == told)
    }
}

impl Relation {
    /// It is a table that holds rows of tenants.
    pub fn holds_tenants(&self) -> bool {
        matches!(
            self.kind,
            RelationKind::Table | RelationKind::PartitionedTable
        ) && !matches!(self.tenant, TenantKey::Global | TenantKey::Unknown)
    }
}
