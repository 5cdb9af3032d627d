//! Values of a column's type, as SQL expressions, the most harmless first.

use uuid::Uuid;

use super::harvest::Harvest;
use crate::db::ident::Literal;
use crate::verify::details::ColumnDetail;

/// Values worth trying for a column. `salt` differs by row, so that unique
/// values do. Every expression is of the column's base type and cannot fail.
pub(crate) fn candidates(column: &ColumnDetail, salt: u32, harvest: &Harvest) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(labels) = &column.labels {
        list.extend(labels.iter().map(|label| cast(label, &column.base_type)));
        return list;
    }
    for text in plain(column, salt, harvest) {
        list.push(cast(&text, &column.base_type));
    }
    if column.category == 'A' {
        list.push(cast("{}", &column.base_type));
        if let Some(element) = &column.element {
            for text in harvest.texts() {
                let holds = match element.as_str() {
                    "uuid" => Uuid::try_parse(&text).is_ok(),
                    "integer" | "bigint" => text.parse::<i32>().is_ok(),
                    other => other.starts_with("text") || other.starts_with("character"),
                };
                if holds {
                    list.push(format!(
                        "array[{}]::{}",
                        cast(&text, element),
                        column.base_type
                    ));
                }
            }
            if let Some(one) = element_value(element, salt) {
                list.push(format!("array[{one}]::{}", column.base_type));
            }
        }
    }
    if column.kind == 'c' {
        list.push(format!(
            "pg_catalog.jsonb_populate_record(null::{0}, '{{}}')",
            column.base_type
        ));
    }
    list.extend(moments(column, salt, harvest));
    list
}

/// The one value to take where nothing constrains the column.
pub(crate) fn first(column: &ColumnDetail, salt: u32) -> Option<String> {
    candidates(column, salt, &Harvest::default())
        .into_iter()
        .next()
}

fn cast(text: &str, type_name: &str) -> String {
    format!("{}::{type_name}", Literal::new(text))
}

fn element_value(element: &str, salt: u32) -> Option<String> {
    let text = match element {
        "uuid" => uuid(salt, "element").to_string(),
        "integer" | "bigint" | "smallint" | "numeric" => "1".to_owned(),
        "text" | "character varying" | "citext" => format!("kinedb-{salt}"),
        "boolean" => "true".to_owned(),
        "jsonb" | "json" => "{}".to_owned(),
        _ => return None,
    };
    Some(cast(&text, element))
}

fn uuid(salt: u32, about: &str) -> Uuid {
    Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("kinedb synthetic {about} {salt}").as_bytes(),
    )
}

/// Values that have a plain text form.
fn plain(column: &ColumnDetail, salt: u32, harvest: &Harvest) -> Vec<String> {
    let numbers = |low: i64, high: i64| {
        let mut list: Vec<i64> = vec![
            1000 + i64::from(salt),
            i64::from(salt % 100),
            1,
            0,
            2,
            -1,
            100,
        ];
        list.extend(harvest.near());
        list.retain(|n| (low..=high).contains(n));
        list.into_iter().map(|n| n.to_string()).collect::<Vec<_>>()
    };
    let ordinal = salt % 200;
    let texts: Vec<String> = match column.base.as_str() {
        "text" | "varchar" | "bpchar" | "citext" | "name" => return texts(column, salt, harvest),
        "uuid" => vec![uuid(salt, &column.name).to_string()],
        "int2" => numbers(i64::from(i16::MIN), i64::from(i16::MAX)),
        "int4" => numbers(i64::from(i32::MIN), i64::from(i32::MAX)),
        "int8" | "float4" | "float8" | "oid" => {
            numbers(0.min(i64::from(i32::MIN)), i64::from(i32::MAX))
        }
        "numeric" => {
            // The modifier holds precision and scale: only so many digits stand before the point.
            let digits = if column.modifier < 4 {
                15
            } else {
                let packed = column.modifier - 4;
                ((packed >> 16) & 0xffff) - (packed & 0x7ff)
            };
            let high = 10_i64.saturating_pow(u32::try_from(digits.clamp(0, 15)).unwrap_or(0)) - 1;
            numbers(-high, high)
        }
        "money" => vec!["1".to_owned(), "0".to_owned()],
        "bool" => vec!["false".to_owned(), "true".to_owned()],
        "time" | "timetz" => vec!["09:00".to_owned(), "10:00".to_owned(), "17:00".to_owned()],
        "interval" => vec!["1 hour".to_owned(), "1 day".to_owned(), "0".to_owned()],
        "json" | "jsonb" => {
            let mut list: Vec<String> = ["{}", "[]", "\"kinedb\"", "0"].map(str::to_owned).into();
            for name in &harvest.strings {
                let key = serde_json::Value::String(name.clone());
                list.push(format!("{{{key}: \"kinedb\"}}"));
                list.push(format!("{{{key}: 1}}"));
            }
            list
        }
        "bytea" => vec![
            format!("\\x{salt:08x}"),
            format!("\\x{salt:064x}"),
            format!("\\x{salt:032x}"),
            format!("\\x{salt:040x}"),
        ],
        "inet" | "cidr" => vec![format!("10.1.0.{ordinal}")],
        "macaddr" => vec![format!("02:00:00:00:00:{ordinal:02x}")],
        "macaddr8" => vec![format!("02:00:00:00:00:00:00:{ordinal:02x}")],
        "int4range" | "int8range" | "numrange" => vec![format!("[{salt},{})", salt + 1)],
        "bit" => vec!["0".repeat(usize::try_from(column.modifier.max(1)).unwrap_or(1))],
        "varbit" => vec!["0".to_owned()],
        "xml" => vec!["<kinedb/>".to_owned()],
        "tsvector" | "tsquery" => vec!["kinedb".to_owned()],
        "point" => vec![format!("({salt},0)")],
        "box" | "lseg" => vec!["((0,0),(1,1))".to_owned()],
        "path" | "polygon" => vec!["((0,0),(1,1),(1,0))".to_owned()],
        "circle" => vec!["<(0,0),1>".to_owned()],
        "line" => vec!["{1,1,1}".to_owned()],
        "jsonpath" => vec!["$".to_owned()],
        "pg_lsn" => vec!["0/1".to_owned()],
        "ltree" => vec![format!("kinedb.n{salt}")],
        "hstore" => vec![String::new()],
        "vector" | "halfvec" => {
            let dimensions = usize::try_from(column.modifier.max(1)).unwrap_or(1);
            vec![format!("[{}]", vec!["1"; dimensions].join(","))]
        }
        "geometry" | "geography" => {
            vec!["SRID=4326;POINT(0 0)".to_owned(), "POINT(0 0)".to_owned()]
        }
        _ => Vec::new(),
    };
    texts
}

fn texts(column: &ColumnDetail, salt: u32, harvest: &Harvest) -> Vec<String> {
    let room = if column.modifier > 4 && column.base != "name" && column.base != "citext" {
        usize::try_from(column.modifier - 4).unwrap_or(usize::MAX)
    } else if column.base == "name" {
        63
    } else {
        usize::MAX
    };
    let mut list = vec![format!("kinedb-{salt}-{}", column.name)];
    if room < 24 {
        // Short codes: the salt first, so that cutting keeps it.
        list.insert(0, format!("{salt}k"));
    }
    list.extend(harvest.varied(salt));
    list.extend(harvest.texts());
    list.extend([
        format!("kinedb{salt}@example.invalid"),
        format!("kinedb-{salt}"),
        format!("kinedb_{salt}"),
        format!("k{salt}"),
        format!("K{salt}"),
        format!("{salt}"),
        format!("+1555010{:04}", salt % 10_000),
        format!("https://example.invalid/{salt}"),
        format!("{salt:064x}"),
        uuid(salt, &column.name).to_string(),
        "a".to_owned(),
        "A".to_owned(),
        "AA".to_owned(),
        "AAA".to_owned(),
        "en".to_owned(),
        "en-CA".to_owned(),
        "UTC".to_owned(),
        "#112233".to_owned(),
        "2000-01-01".to_owned(),
        "Kinedb Name".to_owned(),
        String::new(),
    ]);
    let mut cut: Vec<String> = Vec::new();
    for text in list {
        let short: String = text.chars().take(room).collect();
        if !cut.contains(&short) {
            cut.push(short);
        }
    }
    cut
}

/// Dates and times near now, and ranges of them that do not overlap between rows.
fn moments(column: &ColumnDetail, salt: u32, harvest: &Harvest) -> Vec<String> {
    let type_name = &column.base_type;
    let days = salt % 10_000;
    match column.base.as_str() {
        "date" | "timestamp" | "timestamptz" => [
            "0 hours",
            "1 hour",
            "25 hours",
            "-25 hours",
            "400 days",
            "-400 days",
            "-9000 days",
        ]
        .iter()
        .map(|shift| {
            format!(
                "(pg_catalog.now() + interval '{salt} seconds' + interval '{shift}')::{type_name}"
            )
        })
        // The first day of a period, as monthly figures have it.
        .chain(["month", "year"].iter().map(|period| {
            format!("pg_catalog.date_trunc('{period}', pg_catalog.now())::{type_name}")
        }))
        .chain(
            harvest
                .strings
                .iter()
                .filter(|text| is_date(text))
                .flat_map(|text| {
                    // A bound itself, and a moment after it.
                    [0, 1].map(|days| {
                        format!(
                            "({}::{type_name} + interval '{days} days {} seconds')::{type_name}",
                            Literal::new(text.as_str()),
                            salt % 80_000
                        )
                    })
                }),
        )
        .collect(),
        "daterange" => vec![format!(
            "pg_catalog.daterange(date '2100-01-01' + {days} * 2, date '2100-01-01' + {days} * 2 + 1)"
        )],
        "tsrange" | "tstzrange" => {
            let element = if column.base == "tsrange" {
                "timestamp"
            } else {
                "timestamptz"
            };
            vec![format!(
                "pg_catalog.{}({element} '2100-01-01' + interval '{days} days', {element} '2100-01-01' + interval '{days} days 1 hour')",
                column.base
            )]
        }
        base if base.ends_with("multirange") => vec![cast("{}", type_name)],
        _ => Vec::new(),
    }
}

/// Whether a literal begins like a date, so that a cast of it cannot fail.
fn is_date(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range)
            .is_some_and(|part| part.chars().all(|c| c.is_ascii_digit()))
    };
    digits(0..4) && text.get(4..5) == Some("-") && digits(5..7) && digits(8..10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(base: &str, base_type: &str, modifier: i32) -> ColumnDetail {
        serde_json::from_value(serde_json::json!({
            "relation": 1, "number": 1, "name": "it's", "type": base_type, "base": base,
            "base_type": base_type, "kind": "b", "category": "S", "domain": false, "element": null,
            "modifier": modifier, "not_null": true, "has_default": false, "generated": false,
            "identity": "", "default": null, "labels": null
        }))
        .unwrap()
    }

    #[test]
    fn texts_keep_their_length_and_quotes() {
        let list = candidates(
            &column("varchar", "character varying(4)", 8),
            12,
            &Harvest::default(),
        );
        assert_eq!(list[0], "'12k'::character varying(4)");
        let list = candidates(&column("text", "text", -1), 12, &Harvest::default());
        assert_eq!(list[0], "'kinedb-12-it''s'::text");
    }

    #[test]
    fn numbers_fit_their_precision() {
        // numeric(3,2): one digit before the point
        let list = candidates(
            &column("numeric", "numeric(3,2)", (3 << 16) + 2 + 4),
            12,
            &Harvest::default(),
        );
        assert_eq!(list[0], "'1'::numeric(3,2)");
    }

    #[test]
    fn rows_differ() {
        let uuid = column("uuid", "uuid", -1);
        assert_ne!(first(&uuid, 1), first(&uuid, 2));
    }
}
