//! Views that show none of the rows that were made, for they ask for a state which those are
//! not in: `where state = 'sent'`. For the length of a probe the rows are brought into it.

use sqlx::PgConnection;

use super::read::{counting, judge, readable};
use super::report::{Cell, Report, reproduce};
use super::write::large::at_made;
use crate::db::ident::{Ident, Literal};
use crate::verify::details::ColumnDetail;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{ActAs, Oid, Relation, RelationKind, RoleScope};
use crate::verify::scope::lexer::{Token, tokens};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::World;

/// Reads what no role has seen an own row of once more, over rows that the view asks for.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let unseen = |view: &Relation, report: &Report| {
        world.acting().any(|(role, named)| {
            named
                && role.scope == RoleScope::Tenant
                && role.act_as != ActAs::Login
                && readable(world, view, role)
                && !report.has_worked(Cell::new(view, role, Action::Select))
        })
    };
    let views: Vec<&Relation> = world
        .relations()
        .filter(|relation| relation.kind == RelationKind::View && unseen(relation, report))
        .collect();
    if world.options.read_only || views.is_empty() {
        return Ok(());
    }
    let changes = changes(conn, world, &views).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, named) in world.acting() {
        if !named || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        for (view, changes) in views.iter().copied().zip(&changes) {
            let cell = Cell::new(view, role, Action::Select);
            let Some(grant) = world.grant(role, view).filter(|_| !changes.is_empty()) else {
                continue;
            };
            if !readable(world, view, role) || report.has_worked(cell) {
                continue;
            }
            for tenant in world.contexts_of(role) {
                let (sql, exact) = counting(world, view, grant, world.id(tenant));
                // What was counted before the rows changed says nothing of them now.
                if !exact {
                    continue;
                }
                let setting = Setting::Tenant(world.id(tenant).to_owned());
                let enter = world.actors.enter(world.scope, role, &setting);
                let mut probe = Probe::new();
                bring(world, changes, &mut probe);
                probe.all(&enter);
                let place = probe.step(Kind::Look, sql.clone());
                probes.push(probe);
                asked.push((role, view, tenant, place, reproduce(&enter, &sql)));
            }
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, view, tenant, place, show), answer) in asked.into_iter().zip(answers) {
        report.outcome.probes += 1;
        judge(
            world, view, role, true, tenant, &answer, place, show, report,
        );
    }
    Ok(())
}

/// UPDATEs of rows that were made, with the tenant that each is about.
pub(super) type Changes = Vec<(usize, String)>;

/// Makes them as the verifier; one that fails leaves its row as it is.
pub(super) fn bring(world: &World<'_>, changes: &Changes, probe: &mut Probe) {
    for (tenant, change) in changes {
        if !world.unbound() {
            world.look_as(probe, *tenant);
        }
        probe.step(Kind::Try, change.clone());
    }
    probe.all(&world.origin.forget());
}

/// For each view what brings the rows made below it into the state it asks for.
///
/// # Errors
/// When the connection fails.
pub(super) async fn changes(
    conn: &mut PgConnection,
    world: &World<'_>,
    views: &[&Relation],
) -> anyhow::Result<Vec<Changes>> {
    if world.options.read_only || views.is_empty() {
        return Ok(vec![Changes::new(); views.len()]);
    }
    let mut probe = Probe::new();
    let places: Vec<Vec<usize>> = views
        .iter()
        .map(|view| {
            let layers = layers(world, view.oid).into_iter();
            let mut text = |oid| {
                let sql = format!("select pg_catalog.pg_get_viewdef({oid}::oid)");
                probe.step(Kind::Look, sql)
            };
            layers.map(&mut text).collect()
        })
        .collect();
    let answers = script::run(conn, &[probe], world.budget).await?;
    let Some(answer) = answers.first() else {
        return Ok(vec![Changes::new(); views.len()]);
    };
    let all = views.iter().zip(places).map(|(view, places)| {
        let texts = places.into_iter().filter_map(|place| answer.text(place));
        let texts: Vec<Vec<Token>> = texts.map(tokens).collect();
        updates(world, view, &texts)
    });
    Ok(all.collect())
}

/// A view and the views below it.
fn layers(world: &World<'_>, view: Oid) -> Vec<Oid> {
    let mut seen = vec![view];
    let mut at = 0;
    while let Some(&current) = seen.get(at) {
        at += 1;
        for (_, below) in world
            .details
            .uses
            .iter()
            .filter(|(user, _)| *user == current)
        {
            let kind = world.scope.relation(*below).map(|below| below.kind);
            if kind == Some(RelationKind::View) && !seen.contains(below) {
                seen.push(*below);
            }
        }
    }
    seen
}

fn updates(world: &World<'_>, view: &Relation, texts: &[Vec<Token>]) -> Changes {
    let mut updates = Vec::new();
    for table in world.details.tables_below(view.oid, world.scope) {
        let Some(table) = world.scope.relation(table) else {
            continue;
        };
        let key = keys::key(table).map(|(column, _)| column.as_str());
        let fixed = |column: &&ColumnDetail| {
            let mut references = world.details.references.iter();
            let refers = references.any(|reference| {
                reference.relation == table.oid && reference.columns.contains(&column.name)
            });
            column.generated || Some(column.name.as_str()) == key || refers
        };
        let columns = world.details.columns_of(table.oid);
        let values: Vec<String> = columns
            .filter(|column| !fixed(column))
            .filter_map(|column| {
                let value = texts.iter().find_map(|text| asked_for(text, column))?;
                let name = Ident::new(&column.name);
                Some(format!("{name} = ({value})::{}", column.type_name))
            })
            .collect();
        if values.is_empty() {
            continue;
        }
        let values = values.join(", ");
        for tenant in world.watched() {
            if let Some(made) = at_made(world, table, tenant) {
                let update = format!("update {} set {values} where {made}", table.name);
                updates.push((tenant, update));
            }
        }
    }
    updates
}

/// The value that a query asks of a column, as SQL: the first that is read of it.
fn asked_for(text: &[Token], column: &ColumnDetail) -> Option<String> {
    let from = text.iter().position(|token| token.is_word("from"))?;
    let spoken = text.iter().enumerate().skip(from);
    let mut places = spoken.filter(|(_, token)| token.name() == Some(&column.name));
    places.find_map(|(at, _)| wanted(&text[..at], &text[at + 1..], column))
}

fn wanted(before: &[Token], after: &[Token], column: &ColumnDetail) -> Option<String> {
    if column.element.is_some() {
        return held(before, after).map(|value| format!("array[{value}]"));
    }
    let mut rest = after;
    // What the column is cast to, and the brackets around that.
    loop {
        rest = match rest {
            [close, more @ ..] if close.is(")") => more,
            [cast, _, varying, more @ ..] if cast.is("::") && varying.is_word("varying") => more,
            [cast, _, more @ ..] if cast.is("::") => more,
            _ => break,
        };
    }
    let of = |value: &[Token], step: i64| literal(value, step, column);
    match rest {
        [equal, value @ ..] if equal.is("=") => of(value, 0),
        [more, value @ ..] if more.is(">") || more.is(">=") => of(value, 1),
        [less, value @ ..] if less.is("<") || less.is("<=") => of(value, -1),
        [is, null, ..] if is.is_word("is") && null.is_word("null") => Some("null".to_owned()),
        _ if column.base == "bool" => {
            let qualified = before.last().is_some_and(|token| token.is("."));
            let before = &before[..before.len().saturating_sub(if qualified { 2 } else { 0 })];
            let bare = before.iter().rev().find(|token| !token.is("("));
            let asks = |word: &str| bare.is_some_and(|token| token.is_word(word));
            let asked = ["where", "and", "or", "on"].into_iter().any(asks);
            (asked || asks("not")).then(|| (!asks("not")).to_string())
        }
        _ => None,
    }
}

/// What a query asks to stand in a list: `'open' = any (i.marks)`, `i.marks @> array['open']`.
fn held(before: &[Token], after: &[Token]) -> Option<String> {
    let own = |token: &&Token| token.is(".") || token.name().is_some() && !token.is_word("any");
    let mut rest = before.iter().rev().skip_while(own);
    let any = rest.next().is_some_and(|token| token.is("("))
        && rest.next().is_some_and(|token| token.is_word("any"))
        && rest.next().is_some_and(|token| token.is("="));
    if any {
        let cast = |token: &&Token| token.is("::") || token.name().is_some();
        return rest.find(|token| !cast(token)).and_then(one);
    }
    // What the column is cast to, and the brackets around that.
    let around = |token: &&Token| {
        let punct = [")", "::", "[", "]"].iter().any(|punct| token.is(punct));
        punct || token.name().is_some()
    };
    let mut rest = after.iter().skip_while(around);
    let asks = rest
        .next()
        .is_some_and(|token| token.is("@>") || token.is("&&"));
    let opens = |token: &&Token| token.is("(") || token.is("[") || token.is_word("array");
    rest.find(|token| !opens(token))
        .filter(|_| asks)
        .and_then(one)
}

/// A text as a literal, or the first of a list that is written as one: `'{a,b}'`.
fn one(token: &Token) -> Option<String> {
    let Token::Text(text) = token else {
        return None;
    };
    let list = text
        .strip_prefix('{')
        .and_then(|list| list.strip_suffix('}'));
    let first = list.and_then(|list| list.split(',').next());
    Some(Literal::new(first.map_or(text.as_str(), |first| first.trim_matches('"'))).to_string())
}

/// A literal, or the first of a list; a moment or number a step away from it.
fn literal(value: &[Token], step: i64, column: &ColumnDetail) -> Option<String> {
    let opening = |token: &&Token| {
        token.is("(") || token.is("[") || token.is_word("any") || token.is_word("array")
    };
    let start = value.iter().take_while(opening).count();
    let moment = matches!(column.base.as_str(), "date" | "timestamp" | "timestamptz");
    match &value[start..] {
        [Token::Text(text), ..] if step == 0 => Some(Literal::new(text).to_string()),
        [Token::Text(text) | Token::Number(text), ..] if !moment => {
            let number: i64 = text.parse().ok()?;
            Some(number.saturating_add(step).to_string())
        }
        [Token::Word(word), ..] if word == "true" || word == "false" => Some(word.clone()),
        [Token::Word(word), ..]
            if moment && ["now", "current_date", "current_timestamp"].contains(&word.as_str()) =>
        {
            Some(format!("pg_catalog.now() + {step} * interval '1 day'"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, name: &str, base: &str) -> Option<String> {
        let element = base.strip_prefix('_');
        let column = serde_json::json!({
            "relation": 1, "number": 1, "name": name, "type": base, "base": base, "base_type": base,
            "kind": "b", "category": "S", "domain": false, "element": element, "modifier": -1,
            "not_null": true, "has_default": false, "generated": false, "identity": "",
            "default": null, "labels": null
        });
        asked_for(&tokens(text), &serde_json::from_value(column).ok()?)
    }

    #[test]
    fn what_a_view_asks_of_a_column() {
        let text = "SELECT i.id, CASE WHEN i.state = 'late'::text THEN 1 END AS paid FROM (bills i JOIN desks d \
                    ON (((d.id = i.desk) AND d.open))) WHERE ((i.state = 'sent'::bill_state) AND (NOT i.gone) \
                    AND ((i.kind)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])) \
                    AND (i.sum > 0) AND (i.cost >= '10'::numeric) AND (i.due < now()) AND (i.closed IS NULL) \
                    AND (i.level = 3) AND (i.\"Rank\" = ANY (ARRAY['x'::text])) AND ('open'::text = ANY (i.marks)) \
                    AND (i.tags @> ARRAY['new'::text, 'old'::text]) AND ((i.flags)::text[] && '{\"a b\",c}'::text[]))";
        for (name, base, value) in [
            ("state", "text", "'sent'"),
            ("open", "bool", "true"),
            ("gone", "bool", "false"),
            ("kind", "varchar", "'a'"),
            ("sum", "int4", "1"),
            ("cost", "numeric", "11"),
            (
                "due",
                "timestamptz",
                "pg_catalog.now() + -1 * interval '1 day'",
            ),
            ("closed", "timestamptz", "null"),
            ("level", "int4", "3"),
            ("Rank", "text", "'x'"),
            ("marks", "_text", "array['open']"),
            ("tags", "_text", "array['new']"),
            ("flags", "_text", "array['a b']"),
        ] {
            assert_eq!(asked(text, name, base).as_deref(), Some(value), "{name}");
        }
        for (name, base) in [("desk", "uuid"), ("paid", "bool"), ("rank", "text")] {
            assert_eq!(asked(text, name, base), None, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "from [a-z()'. =<>:0-9]{0,80}") {
            let _ = asked(&text, "a", "bool");
        }
    }
}
