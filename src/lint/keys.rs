//! Keys, unique values and references that leave the tenant out.

use super::Settings;
use super::rules::{Found, altered, created};
use super::text::Statement;

/// Keys and references, in a new table or added to one.
pub(super) fn keys(one: &Statement, settings: &Settings, found: &mut Found<'_>) {
    let tenant = |one: &Statement, columns: &std::ops::Range<usize>| {
        columns.clone().any(|at| {
            settings
                .tenant_columns
                .iter()
                .any(|column| column == one.word(at))
        })
    };
    if one.is_at(0, &["create", "unique", "index"]) {
        let Some(on) = one.find(&["on"]) else { return };
        let (table, _) = one.name(on + 1);
        if let Some(open) = one.find_from(on, &["("]) {
            let (_, end) = one.list(open);
            if !tenant(one, &(open..end)) {
                found.add(
                    "unique-tenant",
                    one,
                    on,
                    format!("a unique index of `{table}` without the tenant"),
                );
            }
        }
        return;
    }
    let (table, items) = if let Some((table, open)) = created(one) {
        let (items, _) = one.list(open);
        // Where no column is a tenant's, the table is not a tenant's: keys cross nothing.
        if !items.iter().any(|item| {
            settings
                .tenant_columns
                .iter()
                .any(|column| column == one.word(item.start))
        }) {
            return;
        }
        (table, items)
    } else if let Some(table) = altered(one) {
        let adds = one.all(&["add"]);
        // Each ends where the next one begins.
        let ends = adds.iter().skip(1).copied().chain([usize::MAX]);
        let items = adds.iter().zip(ends).map(|(at, end)| (*at + 1)..end);
        (table, items.collect())
    } else {
        return;
    };
    for item in items {
        item_keys(one, &item, &table, &tenant, settings, found);
    }
}

fn item_keys(
    one: &Statement,
    item: &std::ops::Range<usize>,
    table: &str,
    tenant: &dyn Fn(&Statement, &std::ops::Range<usize>) -> bool,
    settings: &Settings,
    found: &mut Found<'_>,
) {
    let mut at = item.start;
    if one.is_at(at, &["constraint"]) {
        at += 2;
    }
    let inside = |place: Option<usize>| place.filter(|place| *place < item.end);
    let foreign = one.is_at(at, &["foreign", "key"]);
    let unique = one.is_at(at, &["unique"])
        || one.is_at(at, &["primary", "key"])
        || one.is_at(at, &["exclude"]);
    if foreign || unique {
        let Some(open) = inside(one.find_from(at, &["("])) else {
            return;
        };
        let (_, end) = one.list(open);
        if tenant(one, &(open..end)) {
            return;
        }
        if foreign {
            found.add(
                "foreign-key-tenant",
                one,
                at,
                format!("a reference of `{table}` without the tenant"),
            );
        } else {
            found.add(
                "unique-tenant",
                one,
                at,
                format!("a key of `{table}` without the tenant"),
            );
        }
        return;
    }
    // A column with its own constraints.
    let column = if one.is_at(at, &["column"]) {
        at + 1
    } else {
        at
    };
    if settings
        .tenant_columns
        .iter()
        .any(|name| name == one.word(column))
    {
        return;
    }
    let name = one.word(column).to_owned();
    if let Some(place) = inside(one.find_from(column + 1, &["references"])) {
        found.add(
            "foreign-key-tenant",
            one,
            place,
            format!("`{table}.{name}` references without the tenant"),
        );
    }
    let own_key = inside(one.find_from(column + 1, &["unique"]))
        .or(inside(one.find_from(column + 1, &["primary", "key"])));
    if let Some(place) = own_key {
        found.add(
            "unique-tenant",
            one,
            place,
            format!("`{table}.{name}` is unique over all tenants"),
        );
    }
}
