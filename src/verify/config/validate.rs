//! What a configuration says that cannot be meant, told before any database is asked.

use super::{Config, Exception, Role, TenantSource, bad, nearest};
use crate::verify::explain;
use crate::verify::model::{ExceptionKind, RoleScope};
use crate::verify::session::between_quotes;

impl Config {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let isolation = &self.isolation;
        if let Some(TenantSource::List(ids)) = &isolation.tenants
            && ids.len() < 2
        {
            return bad(
                "`tenants` lists fewer than two ids",
                "isolation is a relation between two tenants: name at least two, or give a query",
            );
        }
        if let Some(TenantSource::Query(query)) = &isolation.tenants
            && query.trim().is_empty()
        {
            return bad(
                "`tenants` is empty",
                "write a query with one column, for example \"select id::text from tenants\"",
            );
        }
        strict(&isolation.strict)?;
        context(&isolation.context, "context")?;
        no_context(isolation.no_context.as_deref())?;
        for (name, table) in &isolation.table {
            for (key, text) in [
                ("tenant", &table.tenant),
                ("owns", &table.owns),
                ("visible", &table.visible),
            ] {
                unquoted(text.as_deref(), &format!("`{key}` of table `{name}`"))?;
            }
            let ways = [
                &table.tenant_column,
                &table.parent,
                &table.tenant,
                &table.owns,
            ];
            if ways.iter().filter(|way| way.is_some()).count() > 1 {
                return bad(
                    format!("table `{name}` tells its tenant in more than one way"),
                    "keep one of `tenant_column`, `parent`, `tenant`, `owns`",
                );
            }
            if table
                .owns
                .as_deref()
                .is_some_and(|owns| !owns.contains(":tenant") && !owns.contains(":user"))
            {
                return bad(
                    format!("`owns` of table `{name}` does not mention `:tenant`"),
                    "compare a column with `:tenant`",
                );
            }
        }
        isolation.role.iter().try_for_each(Role::validate)?;
        isolation.exception.iter().try_for_each(Exception::validate)
    }
}

impl Role {
    fn validate(&self) -> anyhow::Result<()> {
        let name = match (&self.name, &self.query) {
            (Some(name), None) => name,
            (None, Some(query)) if query.contains(":tenant") => query,
            (None, Some(_)) => {
                return bad(
                    "`query` of a role does not mention `:tenant`",
                    "select the role of the tenant, for example \"select db_user from tenants where id = :tenant\"",
                );
            }
            _ => {
                return bad(
                    "a role needs `name` or `query`, and not both",
                    "write `name = \"app\"` below `[[isolation.role]]`",
                );
            }
        };
        if let Some(statements) = &self.context {
            context(statements, &format!("context of role `{name}`"))?;
        }
        unquoted(self.query.as_deref(), "`query` of a role")?;
        unquoted(self.user.as_deref(), &format!("`user` of role `{name}`"))?;
        let scope = self.scope.unwrap_or(RoleScope::Tenant);
        if scope != RoleScope::Tenant && self.reason.trim().is_empty() {
            return bad(
                format!("role `{name}` has a scope beyond one tenant and no reason"),
                "write `reason = \"...\"`: the report shows it",
            );
        }
        if !self.columns.is_empty() && scope != RoleScope::All {
            return bad(
                format!("`columns` of role `{name}` means nothing here"),
                "`columns` belongs to `scope = \"all\"`",
            );
        }
        Ok(())
    }
}

impl Exception {
    fn validate(&self) -> anyhow::Result<()> {
        if self.reason.trim().is_empty() {
            return bad(
                format!("the exception for `{}` has no reason", self.object),
                "write `reason = \"...\"`: the report shows it",
            );
        }
        let rows = matches!(
            self.kind,
            ExceptionKind::SharedRows | ExceptionKind::HiddenRows
        );
        if self.filter.is_some() && !rows {
            return bad(
                format!(
                    "`where` of the exception for `{}` means nothing here",
                    self.object
                ),
                "`where` belongs to `shared-rows` and `hidden-rows`",
            );
        }
        if self.until.is_some_and(|until| until.date.is_none()) {
            return bad(
                format!(
                    "`until` of the exception for `{}` is not a date",
                    self.object
                ),
                "write a day, for example 2027-01-01",
            );
        }
        Ok(())
    }
}

fn context(statements: &[String], what: &str) -> anyhow::Result<()> {
    if statements
        .iter()
        .any(|statement| statement.trim().is_empty())
    {
        return bad(format!("`{what}` holds an empty statement"), "remove it");
    }
    for statement in statements {
        unquoted(Some(statement), &format!("`{what}`"))?;
    }
    if !statements.is_empty()
        && !statements
            .iter()
            .any(|statement| statement.contains(":tenant") || statement.contains(":user"))
    {
        return bad(
            format!("`{what}` never mentions `:tenant`"),
            "for example \"select set_config('app.tenant_id', :tenant, true)\"",
        );
    }
    Ok(())
}

/// A placeholder between quotes is text like any other: the session would be that of a
/// tenant called `:tenant`.
fn unquoted(text: Option<&str>, what: &str) -> anyhow::Result<()> {
    let Some(name) = text.and_then(between_quotes) else {
        return Ok(());
    };
    bad(
        format!("{what} has `:{name}` between quotes, where it is plain text"),
        format!(
            "`:{name}` brings its own quotes: write `:{name}`, and within a document `json_build_object('id', :{name})::text`"
        ),
    )
}

fn strict(ids: &[String]) -> anyhow::Result<()> {
    let known: Vec<&str> = explain::list().iter().map(|entry| entry.id).collect();
    match ids.iter().find(|id| !known.contains(&id.as_str())) {
        None => Ok(()),
        Some(id) => bad(
            format!("`strict` names `{id}`, and there is no such check"),
            nearest(id, known.into_iter()).map_or_else(
                || "list them with `kinedb verify-rls --list`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ),
        ),
    }
}

fn no_context(value: Option<&str>) -> anyhow::Result<()> {
    match value {
        None | Some("deny" | "none") => Ok(()),
        Some(value)
            if value
                .strip_prefix("tenant:")
                .is_some_and(|id| !id.is_empty()) =>
        {
            Ok(())
        }
        Some(value) => bad(
            format!("`no_context` is `{value}`"),
            "write \"deny\", \"none\" or \"tenant:<id>\"",
        ),
    }
}
