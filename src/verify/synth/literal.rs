//! INSERTs whose values were chosen once, written out: shorter to plan, and
//! readable in a report.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::insert::Insert;
use crate::db::ident::{Ident, Literal, Qualified};
use crate::verify::script::{self, Budget, Kind, Probe};

/// How the values of an INSERT are asked for, and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Solve {
    pub(super) relation: Qualified,
    pub(super) names: Vec<Ident>,
    /// `select .. from ..` of at most one row, its columns in the order of `names`.
    pub(super) select: String,
    /// The same from few candidates, where there are more: it may give no row.
    pub(super) brief: Option<String>,
    /// A column is named that only OVERRIDING SYSTEM VALUE may set.
    pub(super) system: bool,
    /// A value may depend on who asks: nobody else can choose it.
    pub(super) contextual: bool,
    /// A value is looked up in rows that RLS may hide.
    pub(super) looks_up: bool,
}

impl Solve {
    fn query(&self, select: &str) -> String {
        let values = self
            .names
            .iter()
            .map(|name| format!("kinedb_solved.{name}::text"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "select pg_catalog.to_jsonb(array[{values}])::text from ({select}) as kinedb_solved"
        )
    }

    fn insert(&self, values: &[Option<String>]) -> String {
        let names = self.names.iter().map(Ident::to_string).collect::<Vec<_>>();
        let values = values
            .iter()
            .map(|value| {
                value
                    .as_ref()
                    .map_or_else(|| "null".to_owned(), |text| Literal::new(text).to_string())
            })
            .collect::<Vec<_>>();
        format!(
            "insert into {} ({}){} values ({})",
            self.relation,
            names.join(", "),
            if self.system {
                " overriding system value"
            } else {
                ""
            },
            values.join(", ")
        )
    }
}

/// The same INSERTs with literals, by their text. Those that cannot be written
/// so are left out.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn literals(
    conn: &mut PgConnection,
    unbound: bool,
    inserts: &[Insert],
    budget: Budget,
) -> anyhow::Result<HashMap<String, String>> {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut open: Vec<(&str, &Solve)> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for insert in inserts {
        if let Some(plain) = &insert.plain {
            known.insert(insert.sql.clone(), plain.clone());
            continue;
        }
        let Some(solve) = &insert.solve else { continue };
        if solve.contextual || solve.looks_up && !unbound || !seen.insert(insert.sql.as_str()) {
            continue;
        }
        open.push((insert.sql.as_str(), solve));
    }
    // Few candidates first, all of them where none of the few will do.
    for brief in [true, false] {
        let mut probe = Probe::new();
        let mut places = Vec::new();
        for (_, solve) in &open {
            let select = match &solve.brief {
                Some(few) if brief => few,
                _ => &solve.select,
            };
            places.push(probe.step(Kind::Look, solve.query(select)));
        }
        if places.is_empty() {
            break;
        }
        let answers = script::run(conn, &[probe], budget).await?;
        let asked = std::mem::take(&mut open);
        for ((sql, solve), place) in asked.into_iter().zip(places) {
            let values: Option<Vec<Option<String>>> = answers
                .first()
                .and_then(|answer| answer.text(place))
                .and_then(|text| serde_json::from_str(text).ok());
            if let Some(values) = values.filter(|values| values.len() == solve.names.len()) {
                known.insert(sql.to_owned(), solve.insert(&values));
            } else if brief && solve.brief.is_some() {
                open.push((sql, solve));
            }
        }
    }
    Ok(known)
}

/// Whether an expression gives the same to everybody: no function, no word that
/// stands for the session.
pub(super) fn constant(expression: &str) -> bool {
    let plain = expression.to_lowercase();
    !plain.contains('(')
        && !["current_", "session_", "localtime", "user"]
            .iter()
            .any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_out() {
        let solve = Solve {
            relation: Qualified::new("public", "notes"),
            names: vec![Ident::new("id"), Ident::new("Text")],
            select: String::new(),
            brief: None,
            system: false,
            contextual: false,
            looks_up: false,
        };
        assert_eq!(
            solve.insert(&[Some("it's".to_owned()), None]),
            "insert into \"public\".\"notes\" (\"id\", \"Text\") values ('it''s', null)"
        );
    }

    #[test]
    fn only_constants_are_the_same_to_everybody() {
        assert!(constant("'draft'::text"));
        assert!(!constant("CURRENT_USER"));
        assert!(!constant("now()"));
    }
}
