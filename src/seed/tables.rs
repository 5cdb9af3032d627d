//! Fixture files of single tables: `tables/<table>.toml`, rows by clinic.
//!
//! They need no code of their own: a field is a column, and `{ patients = "p-1" }`
//! is the id of that row of that table. The table must have the key
//! (tenant_id, id) and be one that the application may insert into.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use toml::Spanned;

use super::fixture::{Clinic, Row, Source, line, row_id, syntax};
use crate::fault::{Code, Fault};

type Rows = Vec<BTreeMap<String, Spanned<toml::Value>>>;

/// The table that a file is for, if it is a file of one table.
pub(super) fn table_of(source: &Source) -> Option<&str> {
    let path = Path::new(&source.path);
    let folder = path.parent()?.file_name()?;
    (folder == "tables").then(|| path.file_stem()?.to_str())?
}

/// Adds the rows of these files to their clinics.
pub(super) fn add(clinics: &mut [Clinic], sources: &[&Source]) -> Result<(), Fault> {
    let mut files = Vec::new();
    for source in sources {
        let Some(table) = table_of(source) else {
            continue;
        };
        let rows: BTreeMap<Spanned<String>, Rows> =
            toml::from_str(&source.text).map_err(|error| syntax(source, &error))?;
        for (slug, rows) in rows {
            let Some(clinic) = clinics
                .iter_mut()
                .find(|clinic| clinic.slug == *slug.get_ref())
            else {
                return Err(at(
                    source,
                    slug.span().start,
                    format!("there is no clinic `{}`", slug.get_ref()),
                ));
            };
            // All keys first: files may refer to each other's rows.
            for row in &rows {
                let (key, offset) = key(source, row)?;
                if !clinic
                    .keys
                    .entry(table.to_owned())
                    .or_default()
                    .insert(key.to_owned())
                {
                    return Err(at(
                        source,
                        offset,
                        format!("key `{key}` is used twice in `{table}`"),
                    ));
                }
            }
            files.push((*source, table, slug.into_inner(), rows));
        }
    }
    for (source, table, slug, rows) in files {
        let Some(clinic) = clinics.iter_mut().find(|clinic| clinic.slug == slug) else {
            continue;
        };
        let rows = rows
            .iter()
            .map(|row| to_row(source, table, clinic, row))
            .collect::<Result<Vec<Row>, Fault>>()?;
        clinic.further.push((table.to_owned(), rows));
    }
    Ok(())
}

fn key<'a>(
    source: &Source,
    row: &'a BTreeMap<String, Spanned<toml::Value>>,
) -> Result<(&'a str, usize), Fault> {
    match row.get("key").map(|key| (key.get_ref(), key.span().start)) {
        Some((toml::Value::String(key), offset)) => Ok((key, offset)),
        Some((_, offset)) => Err(at(source, offset, "a `key` is a string".to_owned())),
        None => {
            let offset = row.values().map(|value| value.span().start).min();
            Err(at(
                source,
                offset.unwrap_or(0),
                "the row has no `key`".to_owned(),
            ))
        }
    }
}

fn to_row(
    source: &Source,
    table: &str,
    clinic: &Clinic,
    row: &BTreeMap<String, Spanned<toml::Value>>,
) -> Result<Row, Fault> {
    let (key, offset) = key(source, row)?;
    let id = row_id(clinic.tenant, table, key);
    let mut values = Map::new();
    values.insert("id".to_owned(), json!(id));
    for (column, value) in row.iter().filter(|(column, _)| *column != "key") {
        let start = value.span().start;
        if column == "id" || column == "tenant_id" {
            return Err(at(
                source,
                start,
                format!("`{column}` is derived, not written"),
            ));
        }
        let value = convert(clinic, value.get_ref()).map_err(|reason| at(source, start, reason))?;
        values.insert(column.clone(), value);
    }
    Ok(Row {
        key: key.to_owned(),
        path: source.path.clone(),
        line: line(source, offset),
        id,
        values: Value::Object(values),
    })
}

/// A TOML value as the JSON that PostgreSQL reads a column from.
fn convert(clinic: &Clinic, value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(truth) => json!(truth),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::Array(items) => items
            .iter()
            .map(|item| convert(clinic, item))
            .collect::<Result<_, _>>()?,
        toml::Value::Table(fields) => {
            let mut entries = fields.iter();
            if let (Some((table, toml::Value::String(key))), None) =
                (entries.next(), entries.next())
                && let Some(keys) = clinic.keys.get(table)
            {
                if !keys.contains(key) {
                    return Err(format!("there is no `{key}` in `{table}`"));
                }
                return Ok(json!(row_id(clinic.tenant, table, key)));
            }
            let mut object = Map::new();
            for (name, value) in fields {
                object.insert(name.clone(), convert(clinic, value)?);
            }
            Value::Object(object)
        }
    })
}

fn at(source: &Source, offset: usize, message: String) -> Fault {
    Fault::new(
        Code::BadFixture,
        format!("`{}` line {}: {message}", source.path, line(source, offset)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::parse;
    use super::*;

    const CLINIC: &str = "[tenant]\nslug = \"a-b\"\nname = \"A\"\ntime_zone = \"UTC\"\nlocale = \"en-CA\"\n[[users]]\nkey = \"u\"\nfull_name = \"U\"\nemail = \"u@example.org\"\nrole = \"admin\"\n";

    fn added(text: &str) -> Result<Clinic, String> {
        let source = |path: &str, text: &str| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut clinics = vec![parse(&source("a-b.toml", CLINIC)).map_err(|f| f.to_string())?];
        add(&mut clinics, &[&source("x/tables/rooms.toml", text)]).map_err(|f| f.to_string())?;
        Ok(clinics.remove(0))
    }

    #[test]
    fn fields_become_columns_and_references_ids() {
        let clinic = added("[[a-b]]\nkey = \"r\"\nowner_id = { users = \"u\" }\nsize = 3\nsince = 2026-01-02\nextra = { colour = \"red\" }\n").unwrap();
        let (table, rows) = &clinic.further[0];
        assert_eq!(table, "rooms");
        assert_eq!(rows[0].values["owner_id"], json!(clinic.users[0].id));
        assert_eq!(rows[0].values["since"], "2026-01-02");
        assert_eq!(rows[0].values["extra"], json!({"colour": "red"}));
        assert_eq!(rows[0].line, 2);
    }

    #[test]
    fn refusals_name_the_line() {
        let refusal = |text: &str| added(text).map(drop).unwrap_err();
        assert_eq!(
            refusal("[[a-b]]\nkey = \"r\"\nowner_id = { users = \"v\" }\n"),
            "`x/tables/rooms.toml` line 3: there is no `v` in `users`"
        );
        assert_eq!(
            refusal("[[nowhere]]\nkey = \"r\"\n"),
            "`x/tables/rooms.toml` line 1: there is no clinic `nowhere`"
        );
        assert_eq!(
            refusal("[[a-b]]\nsize = 1\n"),
            "`x/tables/rooms.toml` line 2: the row has no `key`"
        );
    }

    #[test]
    fn a_file_of_comments_is_a_table_without_rows() {
        assert!(added("# nothing yet\n").unwrap().further.is_empty());
    }
}
