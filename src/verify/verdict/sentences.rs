//! What a report says beyond its findings: how a leak is shown, which channels
//! stay open, what the verdict rests on.

use crate::db::ident::{Ident, Literal};
use crate::verify::finding::{Action, Finding, Outcome, Severity};
use crate::verify::model::{Depth, Options, Relation, Scope, TenantKey};
use crate::verify::session::fill;

/// SQL for psql that shows a leak which brought none of its own.
pub(super) fn reproduce(scope: &Scope, finding: &Finding) -> Option<String> {
    let acting = scope.roles.first();
    let role = match (&finding.role, acting) {
        (Some(name), _) => Ident::new(name),
        (None, Some(role)) => role.name.clone(),
        (None, None) => return None,
    };
    let tenant = scope
        .tenants
        .sample
        .first()
        .map_or_else(|| "TENANT-A".to_owned(), Clone::clone);
    let context: String = scope
        .context
        .iter()
        .map(|statement| {
            format!(
                "{};\n",
                fill(statement, &tenant, scope.users.of(&tenant).as_deref())
            )
        })
        .collect();
    let relation = scope
        .relations
        .iter()
        .find(|relation| relation.label == finding.object);
    let statement = match (relation, finding.action) {
        (Some(relation), Some(Action::Insert)) => format!(
            "-- an INSERT of a row of another tenant is not refused\nselect has_table_privilege({}, 'INSERT')",
            Literal::new(relation.name.to_string())
        ),
        (Some(relation), Some(Action::Update)) => format!(
            "explain (verbose, costs off) update {} set {} = {}",
            relation.name,
            first(relation),
            first(relation)
        ),
        (Some(relation), Some(Action::Delete)) => format!("delete from {}", relation.name),
        (Some(relation), _) => match &relation.tenant {
            TenantKey::Column { column, .. } => format!(
                "select count(*) from {} where {column}::text is distinct from {}",
                relation.name,
                Literal::new(&tenant)
            ),
            _ => format!("select count(*) from {}", relation.name),
        },
        (None, _) => return Some(format!("-- as a superuser, see: {}", finding.detail)),
    };
    Some(format!(
        "begin;\n{context}set local role {role};\n{statement};\nrollback;"
    ))
}

fn first(relation: &Relation) -> String {
    relation
        .columns
        .first()
        .map(|column| column.name.to_string())
        .unwrap_or_default()
}

pub(super) fn residual(outcome: &Outcome) -> Vec<String> {
    let mut list: Vec<String> = [
        "EXPLAIN ANALYZE counts the rows that policies remove, so timing and counts tell whether values exist",
        "the planner's estimates and `pg_class.reltuples`, `pg_stat_user_tables` and `pg_relation_size` tell how much all tenants hold together",
        "sessions of one role see each other's statements in `pg_stat_activity`, and may cancel and end each other",
        "advisory locks and row locks are shared by all tenants: `pg_locks` shows their keys, and waiting tells of them",
        "whoever can run SQL as the application's role can set the tenant by himself: the application must not let users do so",
        "temporary tables, held cursors, prepared statements and settings of a session outlive its transaction: a pool must run DISCARD ALL or share sessions with nobody",
        "sequences and transaction ids show that others write",
    ].iter().map(|text| (*text).to_owned()).collect();
    for more in &outcome.residual {
        if !list.contains(more) {
            list.push(more.clone());
        }
    }
    list
}

pub(super) fn basis(scope: &Scope, options: &Options, findings: &[Finding]) -> Vec<String> {
    let noted = findings
        .iter()
        .any(|finding| finding.id == "sensitive-column" && finding.severity == Severity::Note);
    let mut list = Vec::new();
    if options.depth == Depth::Catalogue {
        list.push(
            "only the catalogue was looked at: nothing was run as a role of the application"
                .to_owned(),
        );
    }
    if options.read_only {
        list.push("read-only: what needs a write was not tried".to_owned());
    }
    if !scope.verifier.unbound {
        let better = scope
            .verifier
            .may_become_unbound
            .as_ref()
            .map_or_else(String::new, |role| {
                format!(
                    "; verify as `{}`, which it may become, to count them",
                    role.as_str()
                )
            });
        list.push(format!(
            "`{}` is itself bound by row level security: real rows of all tenants were not counted{better}",
            scope.verifier.name
        ));
    }
    if let Some(why) = &scope.tenants.unasked {
        list.push(format!(
            "`{}` could not ask for the tenants ({why}): the proof stands on tenants and rows that were made for it",
            scope.verifier.name
        ));
    }
    if noted && !scope.strict.iter().any(|id| id == "sensitive-column") {
        list.push(
            "a role reads sensitive columns that it also writes as part of a whole table, which counts as a note: \
             `strict = [\"sensitive-column\"]` makes it an error"
                .to_owned(),
        );
    }
    if findings
        .iter()
        .any(|finding| finding.id == "grant-truncate")
    {
        list.push(
            "TRUNCATE was not run, for it locks a table against everybody: the rights tell what it empties"
                .to_owned(),
        );
    }
    let sampled = scope.tenants.sample.len() as u64;
    if sampled < scope.tenants.total {
        list.push(format!(
            "{sampled} of {} tenants were acted for; `--exhaustive` takes all",
            scope.tenants.total
        ));
    }
    list
}
