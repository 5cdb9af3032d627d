//! One INSERT that finds its own values: candidates are joined and the table's
//! CHECK constraints, evaluated by the server, choose among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::harvest::Harvest;
use super::literal::{Solve, constant};
use super::values::candidates;
use crate::db::ident::{Ident, Qualified};
use crate::verify::details::{Check, ColumnDetail, Details};
use crate::verify::model::{Oid, Relation, TenantKey};

/// Most candidates of one column, so that the join stays small.
const WIDTH: usize = 24;

/// Candidates of one column that are tried before all of them: as a rule one of the
/// first will do, and a small join is planned in a fraction of the time.
const FEW: usize = 3;

/// What makes values that are the same in every row differ from those of others.
const CHOSEN: u32 = 77;

/// What is known of a row before it is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Columns with the one expression they must take.
    pub(crate) fixed: BTreeMap<String, String>,
    /// Columns in `fixed` that may be NULL as well, where a check asks for that.
    pub(crate) loose: BTreeSet<String>,
    /// Columns to give a value although nothing demands one.
    pub(crate) named: Vec<String>,
    /// Columns whose own checks the value in `fixed` is known to satisfy.
    pub(crate) settled: Vec<i16>,
    /// Conditions on the row, in the table's column names.
    pub(crate) conditions: Vec<String>,
    /// What says whose row it is, of the row's own columns alone.
    pub(crate) owns: Option<String>,
    /// The tenant, for keys that are expressions.
    pub(crate) tenant: String,
    /// Makes unique values differ from other rows'.
    pub(crate) salt: u32,
    /// The only columns that may be named, where a role may not name all.
    pub(crate) allowed: Option<Vec<String>>,
}

/// An INSERT and what it depends on.
#[derive(Debug, Clone)]
pub(crate) struct Insert {
    /// Without RETURNING.
    pub(crate) sql: String,
    /// The same with few candidates, where there are more: it may insert nothing.
    pub(crate) brief: Option<String>,
    /// The checks that chose the values.
    pub(crate) checks: Vec<String>,
    /// A column that no value is known for.
    pub(crate) missing: Option<(String, String)>,
    /// The same with nothing to choose, as a person would write it.
    pub(crate) plain: Option<String>,
    /// How its values can be asked for beforehand; none where it names no column.
    pub(crate) solve: Option<Solve>,
}

/// Builds it.
pub(crate) fn build(details: &Details, relation: &Relation, wanted: &Wanted) -> Insert {
    let columns: Vec<&ColumnDetail> = details.columns_of(relation.oid).collect();
    let generated: Vec<i16> = columns
        .iter()
        .filter(|column| column.generated)
        .map(|column| column.number)
        .collect();
    let checks: Vec<&Check> = details
        .checks
        .iter()
        .filter(|check| check.relation == relation.oid)
        .filter(|check| !alone(check).is_some_and(|number| wanted.settled.contains(&number)))
        .filter(|check| {
            !check
                .columns
                .iter()
                .flatten()
                .any(|number| generated.contains(number))
        })
        .collect();
    let mut conditions = wanted.conditions.clone();
    let mut expression_text = String::new();
    if let Some(expression) = told_by(details, relation) {
        conditions.push(format!(
            "({expression})::text = {}",
            crate::db::ident::Literal::new(&wanted.tenant)
        ));
        expression.clone_into(&mut expression_text);
    } else if let Some(owns) = &wanted.owns {
        conditions.push(format!("({owns})"));
        expression_text.clone_from(owns);
    }
    let mut names = Vec::new();
    let mut sources: Vec<String> = Vec::new();
    // By place in `sources`, those with few of their candidates.
    let mut few: BTreeMap<usize, String> = BTreeMap::new();
    let mut hidden = Vec::new();
    // Places of columns that have a constant default and are never null.
    let mut held = BTreeSet::new();
    // One value for each column, where nothing is to be chosen.
    let mut single: Option<Vec<String>> = Some(Vec::new());
    let mut missing = None;
    let mut contextual = false;
    let mut system = false;
    for column in columns.iter().filter(|column| !column.generated) {
        let of_column: Vec<&&Check> = checks
            .iter()
            .filter(|check| mentions(check, column))
            .collect();
        let in_expression =
            !expression_text.is_empty() && expression_text.contains(column.name.as_str());
        if wanted
            .allowed
            .as_ref()
            .is_some_and(|allowed| !allowed.contains(&column.name))
        {
            if !of_column.is_empty() || in_expression {
                // It may not be named, but checks that name others speak of it.
                let value = column.default.as_deref().unwrap_or("null");
                let name = Ident::new(&column.name);
                contextual |= !constant(value);
                single = None;
                sources.push(format!(
                    "(select ({value})::{} as {name})",
                    column.type_name
                ));
                hidden.push(name);
            }
            continue;
        }
        let fixed = wanted.fixed.get(&column.name);
        let needed = column.not_null && !column.has_default && column.identity.is_empty();
        let named = wanted.named.contains(&column.name);
        if fixed.is_none() && !needed && !named && of_column.is_empty() && !in_expression {
            continue;
        }
        if column.identity == "a" && fixed.is_none() && !named && of_column.is_empty() {
            continue;
        }
        let source = if let Some(expression) = fixed
            && !of_column.is_empty()
            && wanted.loose.contains(&column.name)
        {
            // Of several references a check may allow one only.
            single = None;
            format!(
                "(select kinedb_value as {} from (values ({expression}), (null)) as kinedb_values(kinedb_value))",
                Ident::new(&column.name)
            )
        } else if let Some(expression) = fixed {
            if let Some(values) = &mut single {
                values.push(expression.clone());
            }
            format!("(select {expression} as {})", Ident::new(&column.name))
        } else {
            // Moments are compared with one another: what bounds one bounds them all.
            let moment = matches!(column.base.as_str(), "date" | "timestamp" | "timestamptz");
            let mut text: String = checks
                .iter()
                .filter(|check| moment || mentions(check, column))
                .map(|check| check.check.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            for domain in domain_checks(details, column) {
                let _ = write!(text, " {domain}");
            }
            let mut list = Vec::new();
            if !of_column.is_empty() && !needed && !named {
                let default = column.default.clone().unwrap_or_else(|| "null".to_owned());
                contextual |= !constant(&default);
                list.push(default);
            }
            let mut harvest = Harvest::of(&text);
            if in_expression {
                let t = &wanted.tenant;
                harvest.strings = bearing(t, wanted.salt);
                list.extend(json_with(&expression_text, column, t));
            }
            let values = candidates(column, wanted.salt, &harvest);
            // Literals of the checks stand behind the plain value; take them all, then the rest.
            list.extend(values);
            if !column.not_null && !list.iter().any(|value| value == "null") {
                list.push("null".to_owned());
            }
            let alone = of_column.is_empty()
                && !in_expression
                && domain_checks(details, column).next().is_none();
            list.truncate(if alone {
                1
            } else {
                WIDTH.max(harvest.texts().len() + 8)
            });
            if list.is_empty() || (list == ["null"] && column.not_null) {
                missing = Some((column.name.clone(), column.type_name.clone()));
                continue;
            }
            match (&mut single, &list[..]) {
                (Some(values), [value]) if !column.domain => {
                    values.push(format!("({value})::{}", column.type_name));
                }
                _ => single = None,
            }
            if list.len() > FEW {
                few.insert(sources.len(), source_of(details, column, &list[..FEW]));
            }
            source_of(details, column, &list)
        };
        system |= column.identity == "a";
        if fixed.is_none() && column.not_null && column.default.as_deref().is_some_and(constant) {
            held.insert(sources.len());
        }
        names.push(Ident::new(&column.name));
        sources.push(source);
    }
    for check in &checks {
        conditions.push(format!("({}) is not false", check.check));
    }
    let choose =
        |sources: &[String]| chosen(&relation.name, &names, &hidden, sources, &conditions, &held);
    let select = choose(&sources);
    let direct = single
        .filter(|values| conditions.is_empty() && values.len() == names.len())
        .map(|values| format!("values ({})", values.join(", ")));
    let sql = statement(&relation.name, &names, direct.as_deref().unwrap_or(&select));
    let brief = (!few.is_empty()).then(|| {
        let sources: Vec<String> = sources
            .iter()
            .enumerate()
            .map(|(place, source)| few.get(&place).unwrap_or(source).clone())
            .collect();
        choose(&sources)
    });
    let looks_up = sources.iter().any(|source| source.contains(LOOKED_UP));
    let plain = direct
        .filter(|values| !looks_up && !values.contains("(select ") && !names.is_empty())
        .map(|values| {
            format!(
                "insert into {} ({}){} {values}",
                relation.name,
                listed(&names),
                if system {
                    " overriding system value"
                } else {
                    ""
                }
            )
        });
    Insert {
        sql,
        brief: brief
            .as_ref()
            .map(|select| statement(&relation.name, &names, select)),
        plain,
        checks: checks.iter().map(|check| check.name.clone()).collect(),
        missing,
        solve: (!names.is_empty()).then(|| Solve {
            relation: relation.name.clone(),
            names,
            looks_up,
            select,
            brief,
            system,
            contextual,
        }),
    }
}

/// How the key of a row that exists already is taken.
pub(super) const LOOKED_UP: &str = " limit 1)";

/// One row of values that the conditions allow.
fn chosen(
    relation: &Qualified,
    names: &[Ident],
    hidden: &[Ident],
    sources: &[String],
    conditions: &[String],
    held: &BTreeSet<usize>,
) -> String {
    // What comes first is changed last: a kind of row that is the default is kept to.
    let mut places: Vec<(usize, &String)> = sources.iter().enumerate().collect();
    places.sort_by_key(|(place, _)| !held.contains(place));
    let from = places
        .into_iter()
        .map(|(index, source)| format!("{source} as kinedb_{index}"))
        .collect::<Vec<_>>()
        .join(" cross join ");
    let filter = if conditions.is_empty() {
        String::new()
    } else {
        format!(" where {}", conditions.join(" and "))
    };
    // The inner select bears the table's own name, so that qualified conditions resolve.
    format!(
        "select {} from (select {} from {from}) as {}{filter} limit 1",
        listed(names),
        listed(&[names, hidden].concat()),
        relation.name
    )
}

fn statement(relation: &Qualified, names: &[Ident], select: &str) -> String {
    if names.is_empty() {
        return format!("insert into {relation} as kinedb_row default values");
    }
    format!(
        "insert into {relation} as kinedb_row ({}) overriding system value {select}",
        listed(names)
    )
}

fn listed(names: &[Ident]) -> String {
    names
        .iter()
        .map(Ident::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The one column that a check speaks of.
fn alone(check: &Check) -> Option<i16> {
    match check.columns.as_deref() {
        Some([number]) => Some(*number),
        _ => None,
    }
}

/// The expression over a row's other columns that tells its tenant: as declared or concluded,
/// or that of a generated column.
pub(crate) fn told_by<'d>(details: &'d Details, relation: &'d Relation) -> Option<&'d str> {
    match &relation.tenant {
        TenantKey::Expression(expression) => Some(expression),
        TenantKey::Column { column, .. } => {
            let mut all = details.columns_of(relation.oid);
            let own = all.find(|detail| detail.name == column.as_str())?;
            own.expression.as_deref()
        }
        _ => None,
    }
}

/// Columns whose value is the same for every row and is held to nothing but checks
/// of its own: it is asked for once, not with every INSERT. With the query that
/// gives it.
pub(crate) fn choices(details: &Details, relation: &Relation) -> Vec<(i16, String)> {
    // What tells the tenant differs from tenant to tenant.
    let telling = told_by(details, relation).unwrap_or_default();
    let relation = relation.oid;
    let checks: Vec<&Check> = details
        .checks
        .iter()
        .filter(|check| check.relation == relation)
        .collect();
    let spoken: BTreeSet<i16> = checks.iter().filter_map(|check| alone(check)).collect();
    let linked: BTreeSet<&str> = details
        .uniques
        .iter()
        .filter(|unique| unique.relation == relation)
        .flat_map(|unique| &unique.columns)
        .chain(
            details
                .references
                .iter()
                .filter(|reference| reference.relation == relation)
                .flat_map(|reference| &reference.columns),
        )
        .map(String::as_str)
        .collect();
    details
        .columns_of(relation)
        .filter(|column| {
            (spoken.contains(&column.number) || domain_checks(details, column).next().is_some())
                && !column.generated
                && column.identity.is_empty()
                && !linked.contains(column.name.as_str())
                && !telling.contains(column.name.as_str())
                && column.default.as_deref().is_none_or(constant)
                // Moments of a row are chosen together.
                && !matches!(column.base.as_str(), "date" | "timestamp" | "timestamptz")
                && checks
                    .iter()
                    .filter(|check| mentions(check, column))
                    .all(|check| alone(check).is_some())
        })
        .filter_map(|column| Some((column.number, choice(details, column, &checks)?)))
        .collect()
}

fn choice(details: &Details, column: &ColumnDetail, checks: &[&Check]) -> Option<String> {
    let own: Vec<&str> = checks
        .iter()
        .filter(|check| mentions(check, column))
        .map(|check| check.check.as_str())
        .collect();
    let domains: Vec<&str> = domain_checks(details, column).collect();
    let harvest = Harvest::of(&[own.clone(), domains].concat().join(" "));
    let mut list: Vec<String> = Vec::new();
    if !column.not_null || column.has_default {
        list.push(column.default.clone().unwrap_or_else(|| "null".to_owned()));
    }
    list.extend(candidates(column, CHOSEN, &harvest));
    list.truncate(WIDTH.max(harvest.texts().len() + 8));
    let name = Ident::new(&column.name);
    let filter: Vec<String> = own
        .iter()
        .map(|check| format!("({check}) is not false"))
        .collect();
    let filter = if filter.is_empty() {
        String::new()
    } else {
        format!(" where {}", filter.join(" and "))
    };
    (!list.is_empty()).then(|| {
        format!(
            "select coalesce(pg_catalog.quote_nullable({name}::text), '') from {} as kinedb_choice{filter} limit 1",
            source_of(details, column, &list),
        )
    })
}

/// A value for a column whose checks speak of it alone, chosen by the server:
/// reads nothing of the table. None where a check speaks of other columns too.
pub(crate) fn solved(details: &Details, column: &ColumnDetail, salt: u32) -> Option<String> {
    let checks: Vec<&Check> = details
        .checks
        .iter()
        .filter(|check| check.relation == column.relation && mentions(check, column))
        .collect();
    let alone = checks
        .iter()
        .all(|check| check.columns.as_deref() == Some(&[column.number][..]));
    if !alone {
        return None;
    }
    let text: String = checks.iter().map(|check| check.check.as_str()).collect();
    let mut list = candidates(column, salt, &Harvest::of(&text));
    list.truncate(WIDTH * 2);
    if list.is_empty() {
        return None;
    }
    let name = Ident::new(&column.name);
    let filter = checks
        .iter()
        .map(|check| format!("({}) is not false", check.check))
        .chain(["true".to_owned()])
        .collect::<Vec<_>>()
        .join(" and ");
    Some(format!(
        "(select kinedb_solved.{name} from {} as kinedb_solved where {filter} limit 1)",
        source_of(details, column, &list)
    ))
}

/// A value for a column that the tenant of a row is told by: one that tells this
/// tenant, chosen by the server. Reads nothing of the table.
pub(crate) fn telling(
    details: &Details,
    relation: &Relation,
    column: &ColumnDetail,
    expression: &str,
    tenant: &str,
) -> String {
    let mut list = json_with(expression, column, tenant);
    let harvest = Harvest {
        strings: bearing(tenant, 6200),
        ..Harvest::default()
    };
    list.extend(candidates(column, 6200, &harvest));
    list.truncate(WIDTH * 2);
    let name = Ident::new(&column.name);
    let mut filter = vec![format!(
        "({expression})::text = {}",
        crate::db::ident::Literal::new(tenant)
    )];
    filter.extend(
        details
            .checks
            .iter()
            .filter(|check| check.relation == relation.oid && alone(check) == Some(column.number))
            .map(|check| format!("({}) is not false", check.check)),
    );
    let own = &relation.name.name;
    format!(
        "(select {own}.{name} from {} as {own} where {} limit 1)",
        source_of(details, column, &list),
        filter.join(" and ")
    )
}

/// Texts that bear an id where expressions look for it.
fn bearing(tenant: &str, salt: u32) -> Vec<String> {
    vec![
        // A path first: what reads a folder finds none in the bare id.
        format!("{tenant}/kinedb-{salt}"),
        format!("{tenant}:kinedb-{salt}"),
        format!("{tenant}-kinedb-{salt}"),
        format!("kinedb/{tenant}/{salt}"),
        tenant.to_owned(),
    ]
}

/// The candidates of a column, those that its domain refuses left out.
fn source_of(details: &Details, column: &ColumnDetail, list: &[String]) -> String {
    let name = Ident::new(&column.name);
    format!(
        "(select kinedb_value::{} as {name} from {})",
        column.type_name,
        admitted(details, column, list)
    )
}

/// Values of a column, those left out that its domain refuses, as `kinedb_value`.
pub(crate) fn admitted(details: &Details, column: &ColumnDetail, list: &[String]) -> String {
    let rows = list
        .iter()
        .map(|value| format!("({value})"))
        .collect::<Vec<_>>()
        .join(", ");
    let filter: Vec<String> = domain_checks(details, column)
        .map(|check| format!("({}) is not false", with_value(check)))
        .collect();
    let filter = if filter.is_empty() {
        String::new()
    } else {
        format!(" where {}", filter.join(" and "))
    };
    format!("(values {rows}) as kinedb_values(kinedb_value){filter}")
}

pub(super) fn domain_checks<'a>(
    details: &'a Details,
    column: &'a ColumnDetail,
) -> impl Iterator<Item = &'a str> {
    let bare = column
        .type_name
        .split('(')
        .next()
        .unwrap_or(&column.type_name)
        .to_owned();
    details
        .domain_checks
        .iter()
        .filter(move |check| column.domain && check.type_name == bare)
        .map(|check| check.check.as_str())
}

/// A domain's check with `VALUE` as a column.
fn with_value(check: &str) -> String {
    let mut out = String::new();
    let mut rest = check;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let taken = if first == '\'' || first == '"' {
            crate::verify::session::quoted(rest, first)
        } else if rest.starts_with("VALUE")
            && !(before.is_alphanumeric() || before == '_')
            && !rest[5..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            out.push_str("kinedb_value");
            before = 'E';
            rest = &rest[5..];
            continue;
        } else {
            first.len_utf8()
        };
        out.push_str(&rest[..taken]);
        before = rest[..taken].chars().last().unwrap_or(' ');
        rest = &rest[taken..];
    }
    out
}

fn mentions(check: &Check, column: &ColumnDetail) -> bool {
    match &check.columns {
        Some(columns) => columns.contains(&column.number),
        None => check.check.contains(column.name.as_str()),
    }
}

/// Documents that hold the tenant where the key's expression looks for it.
fn json_with(expression: &str, column: &ColumnDetail, tenant: &str) -> Vec<String> {
    if !column.base.starts_with("json") {
        return Vec::new();
    }
    let keys = Harvest::of(expression).strings;
    let value = serde_json::Value::String(tenant.to_owned());
    let nested = keys.iter().rev().fold(
        value.clone(),
        |inner, key| serde_json::json!({ key.as_str(): inner }),
    );
    keys.iter()
        .map(|key| serde_json::json!({ key.as_str(): value }))
        .chain([nested])
        .map(|document| {
            format!(
                "{}::{}",
                crate::db::ident::Literal::new(document.to_string()),
                column.base_type
            )
        })
        .collect()
}

/// The columns that must hold values of our own: others refer to them.
pub(crate) fn referred(details: &Details, relation: Oid) -> Vec<String> {
    let mut names: Vec<String> = details
        .references
        .iter()
        .filter(|reference| reference.parent == relation)
        .flat_map(|reference| reference.keys.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_speaks_of_value() {
        assert_eq!(
            with_value("((VALUE ~ 'VALUE'::text) AND (length(VALUE) > 1))"),
            "((kinedb_value ~ 'VALUE'::text) AND (length(kinedb_value) > 1))"
        );
    }

    #[test]
    fn hostile_names_are_quoted() {
        let relation = Qualified::new("a\"b", "t'; --");
        let names = [Ident::new("c\"d")];
        let select = chosen(
            &relation,
            &names,
            &[],
            &["(select 1 as \"c\"\"d\")".to_owned()],
            &[],
            &BTreeSet::new(),
        );
        let sql = statement(&relation, &names, &select);
        assert!(sql.contains("\"a\"\"b\".\"t'; --\""));
        assert!(sql.contains("(\"c\"\"d\")"));
    }
}
