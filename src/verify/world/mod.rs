//! The ground that probes and truth stand on: who acts, for which tenants, on
//! which rows; made once inside one transaction that is always rolled back.

mod alike;
mod count;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

pub(crate) use self::count::Count;
use super::details::{Details, Grant};
use super::focus::Focus;
use super::keys;
use super::model::{
    ActAs, ActingRole, ExceptionKind, Oid, Options, Relation, RelationKind, RoleScope, Scope,
};
use super::script::{self, Budget, Kind, Probe};
use super::session::{self, Actors, Origin, PATIENT, PLAIN};
use super::synth::{self, Stage};
use crate::db::ident::{Ident, Literal};

/// Above this estimate a table's rows are not counted one by one.
pub(crate) const BIG: f32 = 20_000.0;
/// Tenants that contexts are taken for, unless all are asked for.
const CONTEXTS: usize = 3;
/// Above this estimate not even `--exhaustive` counts all rows.
const MANY: f32 = 5_000_000.0;

/// Everything a probe needs.
pub(crate) struct World<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) options: &'a Options,
    pub(crate) details: Arc<Details>,
    pub(crate) origin: Origin,
    pub(crate) actors: Actors,
    /// How probes run, and for how long.
    pub(crate) budget: Budget,
    pub(crate) stage: Stage,
    /// Acting roles, then roles that they can become.
    pub(crate) roles: Vec<ActingRole>,
    /// How many of `roles` the scope names.
    pub(crate) named: usize,
    /// Tenants (places in the stage) that contexts are taken for.
    pub(crate) contexts: Vec<usize>,
    /// The other tenants of the sample: what is lent, shared or stored wrongly may show in
    /// the context of one of them only, so their sessions read as well.
    pub(crate) readers: Vec<usize>,
    /// The synthetic tenant that resembles the first.
    pub(crate) lookalike: Option<usize>,
    counts: HashMap<(Oid, usize), Count>,
    /// What to look at.
    pub(crate) focus: Focus,
    /// Tables that held rows before any were made.
    real: HashSet<Oid>,
    /// Tables whose policies read as those of others that are tried in full.
    alike: HashSet<Oid>,
}

/// Opens the transaction (or savepoint) that everything happens in.
pub(crate) async fn open(conn: &mut PgConnection, options: &Options) -> anyhow::Result<()> {
    open_in(conn, options, "").await
}

/// The same, in a snapshot that another session has told; nothing is told where it is ''.
pub(crate) async fn open_in(
    conn: &mut PgConnection,
    options: &Options,
    snapshot: &str,
) -> anyhow::Result<()> {
    let begin = match (options.in_transaction, options.read_only) {
        (true, _) => "savepoint kinedb_world".to_owned(),
        // One snapshot for all looks: what the application commits meanwhile is no effect of
        // what was tried.
        (false, true) => format!("begin isolation level repeatable read, read only; {PATIENT}"),
        (false, false) => format!("begin isolation level repeatable read; {PATIENT}"),
    };
    let within = match snapshot {
        "" => String::new(),
        told => format!("set transaction snapshot {};", Literal::new(told)),
    };
    let message = format!(
        "{begin}; {within} {PLAIN}; set local statement_timeout = {}; set local lock_timeout = {}; \
         set local client_min_messages = error",
        options.statement_timeout.as_millis().max(1),
        options.lock_timeout.as_millis().max(1)
    );
    sqlx::raw_sql(AssertSqlSafe(message))
        .execute(conn)
        .await
        .context("opening a transaction for probes")?;
    Ok(())
}

/// How probes run in what was opened.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn budget(conn: &mut PgConnection, options: &Options) -> anyhow::Result<Budget> {
    let time = options.statement_timeout.min(Duration::from_secs(10));
    // Inside of a migration's transaction nothing is made but rows.
    // The session may be another by now, or a migration may have thrown it away.
    let compiled = if options.in_transaction || options.read_only {
        options.compiled && script::is_compiled(conn).await?
    } else {
        script::compile(conn).await?
    };
    Ok(Budget::new(time, compiled))
}

/// Undoes all of it.
pub(crate) async fn close(conn: &mut PgConnection, options: &Options) -> anyhow::Result<()> {
    let message = if options.in_transaction {
        "rollback to savepoint kinedb_world; release savepoint kinedb_world"
    } else {
        "rollback"
    };
    sqlx::raw_sql(message)
        .execute(conn)
        .await
        .context("rolling the probes back")?;
    Ok(())
}

impl<'a> World<'a> {
    /// What the options ask for, with its details read now.
    pub(crate) async fn of(
        conn: &mut PgConnection,
        scope: &'a Scope,
        options: &'a Options,
    ) -> anyhow::Result<Self> {
        let details = Details::read(conn, scope, options).await?;
        Self::begin(conn, scope, options, details, options.only.as_deref()).await
    }

    /// Finds out who acts, and what to look at: all, or what depends on `only`; makes no
    /// rows yet.
    pub(crate) async fn begin(
        conn: &mut PgConnection,
        scope: &'a Scope,
        options: &'a Options,
        details: Arc<Details>,
        only: Option<&[Oid]>,
    ) -> anyhow::Result<Self> {
        let budget = budget(conn, options).await?;
        let origin = Origin::read(conn, scope).await?;
        let named: Vec<ActingRole> = scope
            .roles
            .iter()
            .filter(|role| role.scope != RoleScope::Trusted)
            .cloned()
            .map(|mut role| {
                // What connects for real is acted as here too: only this session
                // sees the rows that are made.
                if role.act_as == ActAs::Login && scope.verifier.superuser {
                    role.act_as = ActAs::SessionAuthorization;
                }
                role
            })
            .collect();
        let count = named.len();
        let reached = reached(conn, scope, &named).await?;
        let tenants = synth::cast(scope, &details, u32::from(!options.read_only));
        let real = tenants.iter().filter(|tenant| !tenant.synthetic).count();
        let contexts: Vec<usize> = if real == 0 {
            (0..tenants.len().min(2)).collect()
        } else if options.exhaustive || named.iter().any(|role| role.tenant.is_some()) {
            // A role of one tenant reaches its own rows in that tenant's context alone.
            (0..real).collect()
        } else {
            (0..real.min(CONTEXTS)).collect()
        };
        let readers = (contexts.len()..real).collect();
        let lookalike = tenants
            .iter()
            .rposition(|tenant| tenant.synthetic)
            .filter(|_| tenants.len() > 1);
        let ids: Vec<String> = tenants.iter().map(|tenant| tenant.id.clone()).collect();
        scope.users.meet(ids.iter().cloned());
        let actors = Actors::read(conn, scope, &ids, budget).await?;
        let focus = Focus::of(scope, &details, only);
        let alike = alike::find(scope, &details, &focus);
        Ok(Self {
            scope,
            options,
            details,
            focus,
            origin,
            actors,
            budget,
            stage: Stage::of(tenants),
            roles: named.into_iter().chain(reached).collect(),
            named: count,
            contexts,
            readers,
            lookalike,
            counts: HashMap::new(),
            real: HashSet::new(),
            alike,
        })
    }

    /// Makes rows for these tenants.
    pub(crate) async fn make(
        &mut self,
        conn: &mut PgConnection,
        makers: &[usize],
    ) -> anyhow::Result<()> {
        if self.options.read_only || makers.is_empty() {
            return Ok(());
        }
        let mut stage = std::mem::take(&mut self.stage);
        stage.real.clone_from(&self.real);
        self.stage = synth::run(
            conn,
            synth::Ground {
                scope: self.scope,
                details: &self.details,
                origin: &self.origin,
                actors: &self.actors,
                focus: &self.focus,
            },
            stage,
            makers,
            self.budget,
        )
        .await?;
        // An id that no row can bear, for a domain refuses it, is nobody to be told from.
        // What all tenants share is made for anybody.
        let borne = |place: usize| {
            let made = self.stage.newest_first(place).into_iter();
            let mut own = made.filter_map(|(oid, _)| self.scope.relation(oid));
            own.any(keys::owned)
        };
        let told_apart = |place: &&usize| !self.stage.tenants[**place].synthetic || borne(**place);
        if self.contexts.iter().filter(told_apart).count() > 1
            && self.lookalike.is_some_and(|place| !borne(place))
        {
            self.lookalike = None;
        }
        let ids: Vec<String> = self
            .stage
            .tenants
            .iter()
            .map(|tenant| tenant.id.clone())
            .collect();
        if self.scope.roles.iter().any(|role| role.user.is_some()) {
            let actors = Actors::read(conn, self.scope, &ids, self.budget).await?;
            let before = std::mem::replace(&mut self.actors, actors);
            self.actors.keep(before);
        }
        Ok(())
    }

    /// Finds the tables that hold rows already, before any are made. Of a verifier
    /// that RLS binds they are not asked: any may.
    pub(crate) async fn find_real(&mut self, conn: &mut PgConnection) -> anyhow::Result<()> {
        let mut probe = Probe::new();
        let mut asked = Vec::new();
        for relation in self.scope.relations.iter().chain(&self.scope.outside) {
            if !keys::has_places(relation) || !self.focus.makes(relation.oid) {
                continue;
            }
            if self.unbound() && relation.estimate <= 0.0 {
                let sql = format!("select 1 from {} limit 1", relation.name);
                asked.push((probe.step(Kind::Look, sql), relation.oid));
            } else {
                self.real.insert(relation.oid);
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let answers = script::run(conn, &[probe], self.budget).await?;
        for (place, oid) in asked {
            let empty = answers
                .first()
                .is_some_and(|answer| answer.values.len() > place && answer.text(place).is_none());
            if !empty {
                self.real.insert(oid);
            }
        }
        Ok(())
    }

    /// Whether triggers and referential actions of a table may be put to sleep for
    /// a probe: by a superuser, and where rows are real only if that was asked for.
    pub(crate) fn may_silence(&self, relation: &Relation) -> bool {
        self.scope.verifier.superuser
            && (self.options.write_probes || !self.real.contains(&relation.oid))
    }

    /// Whether only known places of a relation are looked at instead of all its rows.
    pub(crate) fn by_place(&self, relation: &Relation) -> bool {
        self.big(relation) && !(self.options.exhaustive && relation.estimate < MANY)
    }

    /// Tenants whose rows the verifier looks at: those of contexts, and the lookalike.
    pub(crate) fn watched(&self) -> Vec<usize> {
        let mut list = self.contexts.clone();
        list.extend(self.lookalike.filter(|place| !list.contains(place)));
        list
    }

    /// The context of a tenant, for a report; where it lacks a user, that is said.
    pub(crate) fn named_context(&self, role: &ActingRole, tenant: usize) -> String {
        let id = self.id(tenant);
        let statements = role.context.as_ref().unwrap_or(&self.scope.context);
        let needed = statements.iter().any(|one| keys::mentions_user(one));
        let nobody = needed && self.actors.user(role, id).is_none();
        let why = if nobody {
            " (for whom `user` of the role finds nobody)"
        } else {
            ""
        };
        format!("in the context of tenant `{id}`{why}")
    }

    /// Two tenants whose users have no tenant in common.
    pub(crate) fn strangers(&self) -> Option<(usize, usize)> {
        let watched = self.watched();
        let whose = |tenant: usize| {
            let mut all = self.scope.users.also(self.id(tenant));
            all.insert(self.id(tenant).to_owned());
            all
        };
        watched.iter().enumerate().find_map(|(at, one)| {
            let mine = whose(*one);
            let rest = watched[at + 1..].iter().copied();
            let mut strange = rest.filter(|other| mine.is_disjoint(&whose(*other)));
            strange.next().map(|other| (*one, other))
        })
    }

    /// The verifier looks at this tenant's rows, although RLS binds it.
    pub(crate) fn look_as(&self, probe: &mut Probe, tenant: usize) {
        let id = &self.stage.tenants[tenant].id;
        let role = self.scope.roles.iter().find(|role| {
            role.scope == RoleScope::Tenant && role.tenant.as_ref().is_none_or(|only| only == id)
        });
        if let Some(role) = role {
            probe.all(&session::context(
                self.scope,
                role,
                id,
                self.actors.user(role, id),
            ));
        }
    }

    /// RLS does not bind the verifier.
    pub(crate) fn unbound(&self) -> bool {
        self.scope.verifier.unbound
    }

    /// Whether a relation is too large to be counted or written as a whole.
    pub(crate) fn big(&self, relation: &Relation) -> bool {
        if is_view(relation) {
            return self
                .details
                .tables_below(relation.oid, self.scope)
                .into_iter()
                .filter_map(|oid| self.scope.relation(oid))
                .any(|table| self.big(table));
        }
        relation.estimate > BIG
            || self
                .scope
                .relations
                .iter()
                .filter(|child| child.parents.contains(&relation.oid))
                .map(|child| child.estimate.max(0.0))
                .sum::<f32>()
                > BIG
    }

    /// The relations asked for.
    pub(crate) fn relations(&self) -> impl Iterator<Item = &'a Relation> + use<'a, '_> {
        let scope: &'a Scope = self.scope;
        scope
            .relations
            .iter()
            .filter(|relation| self.focus.relation(relation.oid))
    }

    /// Roles by place; whether the scope names it.
    pub(crate) fn acting(&self) -> impl Iterator<Item = (&ActingRole, bool)> {
        self.roles
            .iter()
            .enumerate()
            .map(|(place, role)| (role, place < self.named))
    }

    /// What a role may do with a relation.
    pub(crate) fn grant(&self, role: &ActingRole, relation: &Relation) -> Option<&Grant> {
        self.details.grant(role.oid, relation.oid)
    }

    /// Whether an exception in force allows this.
    pub(crate) fn allows(
        &self,
        relation: &Relation,
        kind: ExceptionKind,
        role: &ActingRole,
    ) -> bool {
        self.scope.exceptions.iter().any(|exception| {
            exception.kind == kind
                && !exception.expired
                && exception.filter.is_none()
                && names(relation, &exception.object)
                && exception
                    .role
                    .as_ref()
                    .is_none_or(|name| name == role.name.as_str())
        })
    }

    /// Whether another table with the same policies is tried in every context, so
    /// that this one need not be.
    pub(crate) fn alike(&self, relation: &Relation) -> bool {
        self.alike.contains(&relation.oid)
    }

    /// What was not looked at as a whole, as sentences.
    pub(crate) fn bounds(&self) -> Vec<String> {
        let mut list = Vec::new();
        if !self.alike.is_empty() {
            list.push(format!(
                "{} tables have policies that read the same as another's and speak of the key alone: contexts that name no tenant were tried on three of each kind",
                self.alike.len()
            ));
        }
        let large: Vec<String> = self
            .relations()
            .filter(|relation| {
                keys::has_places(relation)
                    && keys::owned(relation)
                    && relation.parents.is_empty()
                    && self.by_place(relation)
            })
            .map(|relation| format!("`{}`", relation.label))
            .collect();
        if !large.is_empty() {
            let more = large.len().saturating_sub(8);
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            list.push(format!(
                "of large tables the first pages, a sample and the rows that were made were looked at, not every row: {}{rest}",
                large[..large.len().min(8)].join(", ")
            ));
        }
        list
    }

    /// The contexts that this role can be in.
    pub(crate) fn contexts_of(&self, role: &ActingRole) -> Vec<usize> {
        self.contexts
            .iter()
            .copied()
            .filter(|place| {
                let id = &self.stage.tenants[*place].id;
                role.tenant.as_ref().is_none_or(|only| only == id)
            })
            .collect()
    }

    /// The id of a tenant.
    pub(crate) fn id(&self, tenant: usize) -> &str {
        &self.stage.tenants[tenant].id
    }
}

/// Whether an exception's object means this relation.
pub(crate) fn names(relation: &Relation, object: &str) -> bool {
    object == relation.label
        || object == relation.name.human()
        || object == relation.name.to_string()
        || object
            == format!(
                "{}.{}",
                relation.name.schema.as_str(),
                relation.name.name.as_str()
            )
}

/// Whether a relation shows rows of others instead of holding its own.
pub(crate) fn is_view(relation: &Relation) -> bool {
    matches!(
        relation.kind,
        RelationKind::View | RelationKind::MaterializedView
    )
}

/// Roles that the acting roles can become by SET ROLE and that the scope does not name.
async fn reached(
    conn: &mut PgConnection,
    scope: &Scope,
    named: &[ActingRole],
) -> anyhow::Result<Vec<ActingRole>> {
    let mut list: Vec<ActingRole> = Vec::new();
    for role in named {
        let others: Vec<sqlx::postgres::types::Oid> = role
            .reach
            .iter()
            .filter(|oid| {
                !scope.roles.iter().any(|known| known.oid == **oid)
                    && !list.iter().any(|known| known.oid == **oid)
            })
            .map(|oid| sqlx::postgres::types::Oid(*oid))
            .collect();
        if others.is_empty() {
            continue;
        }
        let rows = sqlx::query(
            "select r.oid, r.rolname::text, r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles r \
             where r.oid = any($1) and r.rolname !~ '^pg_' order by r.rolname",
        )
        .bind(others)
        .fetch_all(&mut *conn)
        .await
        .context("looking up the roles that acting roles can become")?;
        for row in rows {
            let oid: sqlx::postgres::types::Oid = row.try_get(0)?;
            let mut other = role.clone();
            other.oid = oid.0;
            other.name = Ident::new(row.try_get::<String, _>(1)?);
            other.login = Some(role.login.clone().unwrap_or_else(|| role.name.clone()));
            other.bypasses = row.try_get(2)?;
            other.reach = vec![oid.0];
            if other.act_as == ActAs::Login {
                other.act_as = ActAs::SetRole;
            }
            list.push(other);
        }
    }
    Ok(list)
}
