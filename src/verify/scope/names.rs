//! Names as people write them in `kinedb.toml`, looked up in the snapshot.

use super::lexer::{Token, tokens};
use super::raw::{Relation, Snapshot};
use crate::verify::config::{bad, nearest};

/// The parts of `a.b`, `"A"."b c"`.
pub(crate) fn parts(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text);
    let mut parts = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Word(name) | Token::Quoted(name) if at % 2 == 0 => parts.push(name.clone()),
            Token::Punct(dot) if at % 2 == 1 && dot == "." => {}
            _ => return None,
        }
    }
    (tokens.len() % 2 == 1).then_some(parts)
}

/// The relation that a name in the configuration means.
///
/// # Errors
/// `BadConfig` where there is none, or several.
pub(crate) fn relation<'a>(
    snapshot: &'a Snapshot,
    schemas: &[String],
    text: &str,
) -> anyhow::Result<&'a Relation> {
    let exact = text
        .trim()
        .rsplit_once('.')
        .map_or((None, text.trim()), |(schema, name)| (Some(schema), name));
    let parts = parts(text);
    let (schema, name) = match parts.as_deref() {
        Some([name]) => (None, name.as_str()),
        Some([schema, name]) => (Some(schema.as_str()), name.as_str()),
        _ => exact,
    };
    let find = |schema: Option<&str>, name: &str| -> Vec<&Relation> {
        let fits = |relation: &&Relation| {
            relation.name == name
                && schema.map_or_else(
                    || schemas.contains(&relation.schema),
                    |schema| relation.schema == schema,
                )
        };
        snapshot.relations.iter().filter(fits).collect()
    };
    // An unquoted name with capitals is taken as written where folding finds nothing.
    let mut found = find(schema, name);
    if found.is_empty() {
        found = find(exact.0, exact.1);
    }
    if found.len() > 1
        && let Some(public) = found.iter().find(|relation| relation.schema == "public")
    {
        return Ok(public);
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let near = nearest(
                name,
                snapshot
                    .relations
                    .iter()
                    .map(|relation| relation.name.as_str()),
            );
            bad(
                format!("`{text}` names no table or view of the schemas looked at"),
                near.map_or_else(
                    || "correct the name, or add its schema to `schemas`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ),
            )
        }
        several => bad(
            format!("`{text}` names {} relations", several.len()),
            format!(
                "write the schema: {}",
                several
                    .iter()
                    .map(|one| format!("`{}.{}`", one.schema, one.name))
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
        ),
    }
}

/// `table.column` as relation and attribute number.
///
/// # Errors
/// `BadConfig` where there is no such relation or column.
pub(crate) fn column<'a>(
    snapshot: &'a Snapshot,
    schemas: &[String],
    text: &str,
) -> anyhow::Result<(&'a Relation, i16)> {
    let Some((table, column)) = split_column(text) else {
        return bad(
            format!("`{text}` is not the name of a column"),
            "write it as `table.column`",
        );
    };
    let relation = relation(snapshot, schemas, &table)?;
    match relation.column_named(&column) {
        Some(found) => Ok((relation, found.number)),
        None => missing_column(relation, &column),
    }
}

/// `BadConfig`: the relation has no such column.
pub(crate) fn missing_column<T>(relation: &Relation, column: &str) -> anyhow::Result<T> {
    let near = nearest(
        column,
        relation.columns.iter().map(|column| column.name.as_str()),
    );
    bad(
        format!(
            "`{}.{}` has no column `{column}`",
            relation.schema, relation.name
        ),
        near.map_or_else(
            || "correct the name".to_owned(),
            |near| format!("did you mean `{near}`?"),
        ),
    )
}

pub(crate) fn split_column(text: &str) -> Option<(String, String)> {
    let parts = parts(text)?;
    let (column, table) = parts.split_last()?;
    let quoted: Vec<String> = table
        .iter()
        .map(|part| crate::db::ident::Ident::new(part).to_string())
        .collect();
    (!quoted.is_empty()).then(|| (quoted.join("."), column.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_as_sql_does() {
        assert_eq!(
            parts("Public.\"My App\""),
            Some(vec!["public".to_owned(), "My App".to_owned()])
        );
        assert_eq!(parts("a."), None);
        assert_eq!(parts("a b"), None);
        assert_eq!(
            split_column("users.Email"),
            Some(("\"users\"".to_owned(), "email".to_owned()))
        );
        assert_eq!(split_column("email"), None);
    }
}
