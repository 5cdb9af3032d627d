//! What can be told from the catalogue where the configuration is silent: the
//! column that holds the tenant, the table of tenants, the way into a context.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lexer::{Token, tokens};
use super::raw::{Reference, Snapshot};
use crate::verify::model::{Oid, Policy, Relation, TenantKey};

/// Column names that policies tie to the session, most frequent first.
pub(crate) fn tenant_columns(policies: &[Policy]) -> Vec<String> {
    let mut votes: BTreeMap<&str, BTreeSet<Oid>> = BTreeMap::new();
    for policy in policies {
        for predicate in policy.predicates() {
            for column in predicate
                .session_columns
                .iter()
                .filter(|column| *column != "*")
            {
                votes.entry(column).or_default().insert(policy.relation);
            }
        }
    }
    let mut ranked: Vec<(&str, usize)> = votes
        .iter()
        .map(|(column, relations)| (*column, relations.len()))
        .collect();
    // `id` and users' columns can be a key of their own table, not the name to look for everywhere.
    let weak = |column: &str| column == "id" || column.contains("user") || column.contains("owner");
    ranked.sort_by_key(|(column, votes)| (weak(column), std::cmp::Reverse(*votes), *column));
    ranked.retain(|(column, _)| *column != "id");
    // What is compared with the user alone says who made a row, where something else says whose it is.
    let users: BTreeSet<&str> = policies
        .iter()
        .flat_map(Policy::predicates)
        .flat_map(|predicate| predicate.user_columns.iter().map(String::as_str))
        .collect();
    if ranked.iter().any(|(column, _)| !users.contains(column)) {
        ranked.retain(|(column, _)| !users.contains(column));
    }
    ranked
        .into_iter()
        .map(|(column, _)| column.to_owned())
        .collect()
}

/// Leaves out columns that cannot hold what the first one holds: of another type,
/// or the key of a row in a table that has a tenant of its own.
pub(crate) fn keep_alike(snapshot: &Snapshot, columns: &mut Vec<String>) {
    let Some(first) = columns.first().cloned() else {
        return;
    };
    let family = |name: &str| -> BTreeSet<&str> {
        snapshot
            .relations
            .iter()
            .filter_map(|relation| relation.column_named(name))
            .map(|column| family(&column.type_name))
            .collect()
    };
    let wanted = family(&first);
    columns.retain(|name| {
        *name == first
            || !wanted.is_disjoint(&family(name)) && !leads_to_owned(snapshot, name, &first)
    });
}

/// Whether a column can hold what the tenant columns hold.
pub(crate) fn alike(snapshot: &Snapshot, columns: &[String], column: &super::raw::Column) -> bool {
    let Some(first) = columns.first() else {
        return true;
    };
    snapshot
        .relations
        .iter()
        .filter_map(|relation| relation.column_named(first))
        .any(|usual| family(&usual.type_name) == family(&column.type_name))
}

/// Types whose values can name the same tenant.
fn family(type_name: &str) -> &str {
    match type_name.split('(').next().unwrap_or_default() {
        "text" | "character varying" | "character" | "citext" | "name" => "text",
        "smallint" | "integer" | "bigint" | "numeric" => "number",
        other => other,
    }
}

fn leads_to_owned(snapshot: &Snapshot, name: &str, first: &str) -> bool {
    snapshot.references.iter().any(|reference| {
        let column = |oid, number| snapshot.relation(oid)?.column(number);
        reference.columns.len() == 1
            && column(reference.child, reference.columns[0]).is_some_and(|own| own.name == name)
            && snapshot
                .relation(reference.parent)
                .is_some_and(|parent| parent.column_named(first).is_some())
            && reference
                .targets
                .first()
                .and_then(|target| column(reference.parent, *target))
                .is_some_and(|target| target.name != first)
    })
}

/// The columns that a relation's own policies tie to the session.
pub(crate) fn tied(policies: &[Policy]) -> HashMap<Oid, BTreeSet<String>> {
    let mut tied: HashMap<Oid, BTreeSet<String>> = HashMap::new();
    for policy in policies {
        for predicate in policy.predicates() {
            tied.entry(policy.relation)
                .or_default()
                .extend(predicate.session_columns.iter().cloned());
        }
    }
    tied
}

/// The table that most tenant columns reference alone, and its key.
pub(crate) fn tenant_table(snapshot: &Snapshot, columns: &[String]) -> Option<(Oid, String)> {
    let mut votes: BTreeMap<(Oid, i16), usize> = BTreeMap::new();
    for reference in &snapshot.references {
        if let Some(target) = single(snapshot, reference, columns) {
            *votes.entry((reference.parent, target)).or_default() += 1;
        }
    }
    let ((oid, number), _) = votes.into_iter().max_by_key(|(_, votes)| *votes)?;
    let name = snapshot.relation(oid)?.column(number)?.name.clone();
    Some((oid, name))
}

fn single(snapshot: &Snapshot, reference: &Reference, columns: &[String]) -> Option<i16> {
    let ([column], [target]) = (reference.columns.as_slice(), reference.targets.as_slice()) else {
        return None;
    };
    let name = &snapshot.relation(reference.child)?.column(*column)?.name;
    (columns.contains(name) && reference.child != reference.parent).then_some(*target)
}

/// A query for a user of a tenant: the table that holds both, memberships first.
pub(crate) fn user_query(relations: &[Relation]) -> Option<String> {
    relations
        .iter()
        .filter(|relation| relation.holds_tenants())
        .filter_map(|relation| {
            let TenantKey::Column { column: key, .. } = &relation.tenant else {
                return None;
            };
            let user = relation.columns.iter().find(|column| {
                matches!(
                    column.name.as_str(),
                    "user_id" | "userId" | "uid" | "profile_id"
                ) && column.name != *key
            })?;
            let member = relation.name.name.as_str().contains("member");
            let sql = format!(
                "select {}::text from {} where {key}::text = :tenant limit 1",
                user.name, relation.name
            );
            Some((!member, relation.columns.len(), sql))
        })
        .min()
        .map(|(.., sql)| sql)
}

/// Settings that statements set, by `set_config('x', ..)` or `set x = ..`.
pub(crate) fn settings_of(statements: &[String]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for statement in statements {
        let tokens = tokens(statement);
        for window in tokens.windows(3) {
            if let [name, open, Token::Text(setting)] = window
                && name.is_word("set_config")
                && open.is("(")
            {
                found.insert(setting.to_lowercase());
            }
        }
        if tokens.first().is_some_and(|token| token.is_word("set")) {
            let skip = 1 + usize::from(
                tokens
                    .get(1)
                    .is_some_and(|token| token.is_word("local") || token.is_word("session")),
            );
            let name: String = tokens
                .iter()
                .skip(skip)
                .map_while(|token| match token {
                    Token::Word(word) if word != "to" => Some(word.as_str()),
                    Token::Punct(dot) if dot == "." => Some("."),
                    _ => None,
                })
                .collect();
            found.insert(name);
        }
    }
    found.into_iter().filter(|name| !name.is_empty()).collect()
}

/// Statements that fill the settings which policies compare with the tenant.
/// `texts` are the policies and the functions they call, `demands` the restrictive
/// policies: what those ask of a claim every session must bring. `accessors` are
/// functions that hand out a claim by its name, `second` is the setting that tells a
/// place within the tenant.
pub(crate) fn context(
    settings: &BTreeSet<String>,
    texts: &[&str],
    demands: &[&str],
    accessors: &[&str],
    second: Option<&str>,
) -> Vec<String> {
    let claims = claim_paths(texts, accessors);
    let quoted = |text: &str| crate::db::ident::Literal::new(text).to_string();
    settings
        .iter()
        .map(|setting| {
            let json = setting.ends_with("claims")
                || setting.ends_with("jwt")
                || texts.iter().any(|text| read_as_json(text, setting));
            (setting, json)
        })
        .filter(|(setting, json)| {
            let told = *json || second == Some(setting.as_str()) || !about_user(setting);
            setting.contains('.') && told && !about_bypass(setting)
        })
        .map(|(setting, json)| {
            if second == Some(setting.as_str()) {
                // Without a place it reads as a context that was reset.
                return format!("select set_config({}, :user, true)", quoted(setting));
            }
            if !json {
                return format!("select set_config({}, :tenant, true)", quoted(setting));
            }
            let mut json = "jsonb_build_object()".to_owned();
            for path in &claims {
                let demanded = path.last().and_then(|name| demanded(demands, name));
                let leaf = match (path.last().map(String::as_str), &demanded) {
                    (_, Some(value)) => quoted(value),
                    // What issues the claims names the role there that it takes.
                    (Some(name), None) if name.ends_with("role") => "current_user".to_owned(),
                    (Some(name), None) if about_user(name) => ":user".to_owned(),
                    _ => ":tenant".to_owned(),
                };
                let value = path
                    .iter()
                    .rev()
                    .fold(format!("to_jsonb({leaf}::text)"), |inner, name| {
                        format!("jsonb_build_object({}, {inner})", quoted(name))
                    });
                json = format!("{json} || {value}");
            }
            format!(
                "select set_config({}, ({json})::text, true)",
                quoted(setting)
            )
        })
        .collect()
}

/// Whether one of the settings is named for several tenants at once: `app.org_ids`, `app.clinic_list`.
pub(crate) fn holds_lists(settings: &[String]) -> bool {
    settings.iter().any(|setting| {
        let name = setting.rsplit('.').next().unwrap_or(setting);
        name.ends_with("ids")
            || name.contains("list")
            || name.ends_with('s')
                && [
                    "tenant",
                    "org",
                    "account",
                    "team",
                    "workspace",
                    "customer",
                    "compan",
                    "clinic",
                ]
                .iter()
                .any(|part| name.contains(part))
    })
}

/// A name that speaks of a user, not of a tenant.
pub(crate) fn about_user(name: &str) -> bool {
    name == "sub"
        || name.ends_with(".sub")
        || ["user", "uid", "actor", "email"]
            .iter()
            .any(|part| name.contains(part))
}

/// The place of the part of a path that a predicate compares, from 1.
pub(crate) fn path_part(text: &str, column: &str) -> Option<u32> {
    let tokens = tokens(text);
    for (at, token) in tokens.iter().enumerate() {
        let Some(call) = token.name() else { continue };
        if !tokens.get(at + 1).is_some_and(|next| next.is("(")) {
            continue;
        }
        let mut depth = 0;
        let Some(end) = (at + 1..tokens.len()).find(|place| {
            depth += i32::from(tokens[*place].is("(")) - i32::from(tokens[*place].is(")"));
            depth == 0
        }) else {
            continue;
        };
        let inside = &tokens[at + 2..end];
        if !inside.iter().any(|token| token.name() == Some(column)) {
            continue;
        }
        let number = |token: Option<&Token>| match token {
            Some(Token::Number(number)) => number.parse().ok(),
            _ => None,
        };
        match call {
            "split_part"
                if inside
                    .iter()
                    .any(|token| matches!(token, Token::Text(text) if text == "/")) =>
            {
                return number(inside.last());
            }
            "foldername" | "string_to_array" => {
                let open = (end..tokens.len()).find(|place| tokens[*place].is("["))?;
                return number(tokens.get(open + 1));
            }
            _ => {}
        }
    }
    None
}

fn about_bypass(name: &str) -> bool {
    ["bypass", "admin", "role", "internal"]
        .iter()
        .any(|part| name.contains(part))
}

/// Whether a text takes what it reads of a setting for JSON: it is cast to that, or taken
/// apart like that, itself or what is made of it.
fn read_as_json(text: &str, setting: &str) -> bool {
    let tokens = tokens(text);
    let arrow = |token: &Token| token.is("->") || token.is("->>") || token.is("#>>");
    let made = |next: usize| {
        tokens.get(next).is_some_and(arrow)
            || tokens.get(next).is_some_and(|token| token.is("::"))
                && tokens
                    .get(next + 1)
                    .is_some_and(|token| token.is_word("json") || token.is_word("jsonb"))
    };
    tokens.iter().enumerate().any(|(at, token)| {
        if !token.is_word("current_setting")
            || !matches!(tokens.get(at + 2), Some(Token::Text(name)) if name.eq_ignore_ascii_case(setting))
        {
            return false;
        }
        let (mut depth, mut lowest) = (0, 1);
        for (place, token) in tokens.iter().enumerate().skip(at + 1) {
            depth += i32::from(token.is("(")) - i32::from(token.is(")"));
            // The call itself, or what stands around it; not what stands beside it.
            if token.is(")") && depth < lowest {
                lowest = depth;
                if made(place + 1) {
                    return true;
                }
            }
            // Beside it stands something else.
            if depth <= 0 && (token.is("=") || token.is_word("and") || token.is_word("or")) {
                return false;
            }
        }
        false
    })
}

/// `-> 'a' ->> 'b'` and `#>> '{a,b}'` in the texts.
fn claim_paths(texts: &[&str], accessors: &[&str]) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for text in texts {
        for window in tokens(text).windows(3) {
            if let [name, open, Token::Text(claim)] = window
                && open.is("(")
                && name.name().is_some_and(|name| accessors.contains(&name))
            {
                paths.insert(vec![claim.clone()]);
            }
        }
        let mut path = Vec::new();
        let mut arrow = None;
        for token in tokens(text) {
            match (&token, arrow.take()) {
                (Token::Punct(punct), _) if punct == "->" || punct == "->>" => {
                    arrow = Some(punct.len())
                }
                (Token::Text(name), Some(length)) => {
                    path.push(name.clone());
                    if length == 3 {
                        paths.insert(std::mem::take(&mut path));
                    }
                }
                (Token::Word(word), _) if matches!(word.as_str(), "and" | "or" | "select") => {
                    path.clear()
                }
                _ => {}
            }
        }
    }
    paths.retain(|path| path.len() == 1 || path.last().is_some_and(|name| name != "role"));
    paths
}

/// Whether a function takes out of JSON what an argument names.
pub(crate) fn hands_out(source: &str) -> bool {
    tokens(source).windows(2).any(|pair| {
        (pair[0].is("->>") || pair[0].is("->"))
            && (pair[1].name().is_some() || pair[1].is("$") || pair[1].is("("))
    })
}

/// The path into a JSON column that a predicate compares: `"doc" ->> 'tenant'`.
pub(crate) fn json_part(text: &str, column: &str) -> Option<String> {
    let tokens = tokens(text);
    let start = tokens.windows(2).position(|pair| {
        pair[0].name() == Some(column) && (pair[1].is("->") || pair[1].is("->>"))
    })?;
    let mut part = crate::db::ident::Ident::new(column).to_string();
    let mut at = start + 1;
    loop {
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(arrow), Some(Token::Text(key))) if arrow.is("->") || arrow.is("->>") => {
                let last = arrow.is("->>");
                let key = crate::db::ident::Literal::new(key);
                part = format!("{part} {} {key}", if last { "->>" } else { "->" });
                at += 2;
                if last {
                    return Some(part);
                }
                // As it is printed: `(doc -> 'a'::text) ->> 'b'::text`.
                while tokens
                    .get(at)
                    .is_some_and(|token| token.is("::") || token.is_word("text") || token.is(")"))
                {
                    at += 1;
                }
            }
            _ => return None,
        }
    }
}

/// The first text that predicates compare the claim of this name with.
fn demanded(predicates: &[&str], claim: &str) -> Option<String> {
    predicates.iter().find_map(|text| {
        let tokens = tokens(text);
        let at = tokens.iter().enumerate().position(|(at, token)| {
            matches!(token, Token::Text(name) if name == claim)
                && at > 0
                && tokens[at - 1].is("->>")
        })?;
        let equal = (at..tokens.len()).find(|place| tokens[*place].is("="))?;
        let between = &tokens[at..equal];
        if between
            .iter()
            .any(|token| ["and", "or", "not"].iter().any(|word| token.is_word(word)))
        {
            return None;
        }
        let after = tokens[equal + 1..].iter().find(|token| {
            !(token.is("(") || token.is("[") || token.is_word("any") || token.is_word("array"))
        });
        match after {
            Some(Token::Text(value)) => Some(value.clone()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_become_json() {
        let settings = BTreeSet::from([
            "request.jwt.claims".to_owned(),
            "app.user_id".to_owned(),
            "app.org".to_owned(),
        ]);
        let context = context(
            &settings,
            &[
                "((((current_setting('request.jwt.claims'::text, true))::jsonb -> 'app_metadata'::text) ->> 'org'::text))::int",
            ],
            &[
                "((COALESCE(((current_setting('request.jwt.claims'::text, true))::jsonb ->> 'aal'::text), 'aal1'::text)) = ANY (ARRAY['aal2'::text]))",
            ],
            &[],
            None,
        );
        assert_eq!(
            context,
            [
                "select set_config('app.org', :tenant, true)",
                "select set_config('request.jwt.claims', (jsonb_build_object() || jsonb_build_object('app_metadata', jsonb_build_object('org', to_jsonb(:tenant::text))))::text, true)",
            ]
        );
    }

    #[test]
    fn statements_name_their_settings() {
        let statements = [
            "select set_config('App.T', :tenant, true)".to_owned(),
            "set local app.u = :user".to_owned(),
        ];
        assert_eq!(settings_of(&statements), ["app.t", "app.u"]);
    }
}
