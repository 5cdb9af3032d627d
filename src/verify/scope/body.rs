//! What the text of a function does: the relations it names, the settings it
//! reads and sets, the functions it calls. Read from tokens, so it knows names,
//! not types; what it cannot read it says (`opaque`, `dynamic`).

use std::collections::{BTreeSet, HashMap, HashSet};

use super::brackets::closing;
use super::lexer::{Token, tokens};
use crate::verify::model::{Body, Oid};

/// The names of a database: relations and functions outside of system schemas.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// Relations by name: (schema, oid).
    pub(crate) relations: HashMap<String, Vec<(String, Oid)>>,
    /// Functions by name: (schema, oid).
    pub(crate) functions: HashMap<String, Vec<(String, Oid)>>,
    /// Names of functions that read the setting which they are called with.
    pub(crate) settings: HashSet<String>,
    /// Settings and functions that tell who the user is, though their names do not say so.
    pub(crate) users: HashSet<String>,
}

impl Dictionary {
    /// Whether a setting or a function of that name tells who the user is.
    pub(crate) fn about_user(&self, name: &str) -> bool {
        super::entry::about_user(name) || self.users.contains(name)
    }

    /// Whether a function of that name reads the setting that it is called with.
    pub(crate) fn hands_out_settings(&self, name: &str) -> bool {
        self.settings.contains(name)
    }

    /// Objects of a name, in one schema or in any.
    pub(crate) fn find(
        map: &HashMap<String, Vec<(String, Oid)>>,
        schema: Option<&str>,
        name: &str,
    ) -> Vec<Oid> {
        let all = map.get(name).map(Vec::as_slice).unwrap_or_default();
        let fits = |own: &str| schema.is_none_or(|schema| schema == own);
        all.iter()
            .filter(|(own, _)| fits(own))
            .map(|(_, oid)| *oid)
            .collect()
    }
}

/// Views and functions of the server that show values of all rows or reach around policies.
const SERVER: [&str; 20] = [
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_statistic",
    "pg_statistic_ext_data",
    "query_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "cursor_to_xml",
    "query_to_xml_and_xmlschema",
    "table_to_xml_and_xmlschema",
    "pg_read_file",
    "pg_read_binary_file",
    "lo_get",
    "loread",
    "pg_largeobject",
    "dblink",
    "dblink_connect",
    "dblink_exec",
];

/// Which of them the tokens name; in text that is put together also across `||`.
fn server(tokens: &[Token], dynamic: bool) -> Vec<String> {
    let known = |name: &str| SERVER.contains(&name).then(|| name.to_owned());
    let mut found: Vec<String> = tokens
        .iter()
        .filter_map(|token| known(token.name()?))
        .collect();
    if dynamic {
        let mut text = String::new();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Text(part) => {
                    if !(at > 0 && tokens[at - 1].is("||")) {
                        text.push(' ');
                    }
                    text.push_str(part);
                }
                Token::Punct(punct) if punct == "||" => {}
                _ => text.push(' '),
            }
        }
        found.extend(
            self::tokens(&text)
                .iter()
                .filter_map(|token| known(token.name()?)),
        );
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Reads the text of a function in SQL or PL/pgSQL.
pub(crate) fn read(language: &str, source: &str, names: &Dictionary) -> Body {
    if !matches!(language, "sql" | "plpgsql") {
        return Body {
            opaque: true,
            ..Body::default()
        };
    }
    let mut tokens = tokens(source);
    let dynamic = language == "plpgsql" && tokens.iter().any(|token| token.is_word("execute"));
    if dynamic {
        let texts: Vec<_> = tokens
            .iter()
            .filter_map(|token| match token {
                Token::Text(text) if text.contains(' ') => Some(self::tokens(text)),
                _ => None,
            })
            .collect();
        for text in texts {
            tokens.push(Token::Punct(";".to_owned()));
            tokens.extend(text);
        }
    }
    let mut body = Body {
        server: server(&tokens, dynamic),
        dynamic,
        ..Body::default()
    };
    let mut reader = Reader {
        tokens: &tokens,
        names,
        ctes: ctes(&tokens),
        body: &mut body,
    };
    reader.read();
    for list in [&mut body.reads, &mut body.writes, &mut body.calls] {
        *list = list
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
    }
    for list in [
        &mut body.settings,
        &mut body.sets,
        &mut body.chooses,
        &mut body.session_sets,
        &mut body.unqualified,
        &mut body.assigns,
    ] {
        *list = list
            .drain(..)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
    }
    body
}

/// Adds what called functions bring: settings and the session always, relations
/// only where the callee runs with the same rights.
pub(crate) fn close(bodies: &mut HashMap<Oid, Body>, definers: &HashSet<Oid>) {
    let direct = bodies.clone();
    for (oid, body) in bodies.iter_mut() {
        let mut seen = HashSet::from([*oid]);
        let mut queue: Vec<(Oid, bool)> = direct[oid]
            .calls
            .iter()
            .map(|callee| (*callee, !definers.contains(callee)))
            .collect();
        while let Some((callee, same_rights)) = queue.pop() {
            let Some(other) = direct.get(&callee).filter(|_| seen.insert(callee)) else {
                continue;
            };
            body.session |= other.session;
            body.dynamic |= other.dynamic && same_rights;
            body.calls.push(callee);
            body.settings.extend(other.settings.iter().cloned());
            if same_rights {
                body.reads.extend(&other.reads);
                body.writes.extend(&other.writes);
            }
            queue.extend(
                other
                    .calls
                    .iter()
                    .map(|next| (*next, same_rights && !definers.contains(next))),
            );
        }
        for list in [&mut body.reads, &mut body.writes, &mut body.calls] {
            list.sort_unstable();
            list.dedup();
        }
        body.settings.sort_unstable();
        body.settings.dedup();
    }
}

/// Whether a text reads the setting that it is called with: `current_setting(name, true)`.
pub(crate) fn hands_out_settings(source: &str) -> bool {
    let tokens = tokens(source);
    tokens.windows(3).any(|window| {
        window[0].is_word("current_setting")
            && window[1].is("(")
            && (window[2].name().is_some() || window[2].is("$"))
    })
}

/// Whether a text can be the name of a setting of somebody's own: `app.tenant_id`.
pub(crate) fn is_setting(text: &str) -> bool {
    text.split_once('.').is_some_and(|(class, name)| {
        [class, name].iter().all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_.".contains(c))
        })
    })
}

struct Reader<'a> {
    tokens: &'a [Token],
    names: &'a Dictionary,
    ctes: HashSet<&'a str>,
    body: &'a mut Body,
}

impl<'a> Reader<'a> {
    fn word(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_word(word))
    }

    fn read(&mut self) {
        let mut listing = false; // inside a FROM list, where a comma brings another table
        for at in 0..self.tokens.len() {
            let token = &self.tokens[at];
            match token {
                Token::Word(word) => match word.as_str() {
                    "from" | "join" => listing = true,
                    "where" | "group" | "order" | "set" | "returning" | "limit" | "select"
                    | "on" | "values" => listing = false,
                    "exception" => {
                        self.body.swallows |= self.word(at + 1, "when");
                        self.body.raises |= at > 0 && self.word(at - 1, "raise");
                    }
                    "current_user" | "session_user" => self.body.session = true,
                    _ => {}
                },
                Token::Punct(punct) if punct == ";" => listing = false,
                _ => {}
            }
            if token.name().is_some() {
                self.name(at, listing);
            }
        }
    }

    fn name(&mut self, at: usize, listing: bool) {
        let Some(name) = self.tokens[at].name() else {
            return;
        };
        let dotted = at >= 2 && self.tokens[at - 1].is(".");
        let schema = dotted.then(|| self.tokens[at - 2].name()).flatten();
        let next = self.tokens.get(at + 1);
        let taken = dotted && at >= 3 && (self.word(at - 3, "into") || self.word(at - 3, "strict"));
        let assigned = next.is_some_and(|next| next.is(":=") || next.is("="));
        if schema == Some("new") && (taken || assigned && !self.kept(at + 2, name)) {
            self.body.assigns.push(name.to_owned());
        }
        // A schema, or a table before its column: the name after it is looked up.
        if next.is_some_and(|next| next.is(".")) {
            return;
        }
        let start = if dotted { at - 2 } else { at };
        if next.is_some_and(|next| next.is("(")) && !(start > 0 && self.word(start - 1, "into")) {
            self.call(at, schema, name);
            return;
        }
        let mut before = start.checked_sub(1);
        while before.is_some_and(|before| self.word(before, "only") || self.word(before, "lateral"))
        {
            before = before.and_then(|before| before.checked_sub(1));
        }
        let Some(before) = before else { return };
        let comma = listing && self.tokens[before].is(",");
        let here = [
            "from", "join", "into", "update", "table", "using", "truncate",
        ]
        .iter()
        .any(|word| self.word(before, word));
        if !(comma || here) || (schema.is_none() && self.ctes.contains(name)) {
            return;
        }
        let found = Dictionary::find(&self.names.relations, schema, name);
        if found.is_empty() {
            return;
        }
        if schema.is_none() {
            self.body.unqualified.push(name.to_owned());
        }
        let prior = before.checked_sub(1);
        let writes = self.word(before, "update")
            || self.word(before, "truncate")
            || self.word(before, "into")
                && prior
                    .is_some_and(|prior| self.word(prior, "insert") || self.word(prior, "merge"))
            || self.word(before, "from") && prior.is_some_and(|prior| self.word(prior, "delete"));
        if writes {
            self.body.writes.extend(&found);
        }
        self.body.reads.extend(found);
    }

    /// The value that begins at a place is what the row held before.
    fn kept(&self, at: usize, name: &str) -> bool {
        self.word(at, "old")
            && self.tokens.get(at + 1).is_some_and(|token| token.is("."))
            && self.tokens.get(at + 2).and_then(Token::name) == Some(name)
            && self.tokens.get(at + 3).is_some_and(|token| token.is(";"))
    }

    fn call(&mut self, at: usize, schema: Option<&str>, name: &str) {
        let argument = |skip: usize| match self.tokens.get(at + skip) {
            Some(Token::Text(text)) => Some(text.to_lowercase()),
            _ => None,
        };
        match name {
            "current_setting" => {
                self.body.session = true;
                self.body.settings.extend(argument(2));
            }
            "set_config" => {
                if let Some(setting) = argument(2) {
                    if self.chosen(at + 4) {
                        self.body.chooses.push(setting.clone());
                    }
                    let local = self
                        .last_argument(at + 1)
                        .is_some_and(|token| token.is_word("true"));
                    let list = if local {
                        &mut self.body.sets
                    } else {
                        &mut self.body.session_sets
                    };
                    list.push(setting);
                }
            }
            "pg_has_role" => self.body.session = true,
            _ => {
                if self.names.hands_out_settings(name) {
                    self.body
                        .settings
                        .extend(argument(2).filter(|name| is_setting(name)));
                }
                let called = Dictionary::find(&self.names.functions, schema, name);
                self.body.calls.extend(called);
            }
        }
    }

    /// Whether a value is a literal, or the variable of a loop: the text's own choice.
    fn chosen(&self, at: usize) -> bool {
        match self.tokens.get(at) {
            Some(Token::Text(text)) => !text.is_empty(),
            Some(token) => token.name().is_some_and(|name| {
                self.tokens.windows(3).any(|window| {
                    window[0].is_word("for")
                        && window[1].name() == Some(name)
                        && window[2].is_word("in")
                })
            }),
            None => false,
        }
    }

    /// The single token before the bracket that closes the call.
    fn last_argument(&self, open: usize) -> Option<&'a Token> {
        self.tokens.get(closing(self.tokens, open)? - 1)
    }
}

/// Names of common table expressions: `with x as (` and `, x as (`.
fn ctes(tokens: &[Token]) -> HashSet<&str> {
    tokens
        .windows(3)
        .filter(|window| window[1].is_word("as") && window[2].is("("))
        .filter_map(|window| window[0].name())
        .collect()
}

/// Settings set for the session by `SET x = ..` statements of the text.
pub(crate) fn set_statements(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let starts = at == 0
            || tokens[at - 1].is(";")
            || tokens[at - 1].is_word("begin")
            || tokens[at - 1].is_word("then");
        if !starts || !token.is_word("set") {
            continue;
        }
        let from = at
            + 1
            + usize::from(
                tokens
                    .get(at + 1)
                    .is_some_and(|token| token.is_word("session")),
            );
        if let (Some(space), Some(dot), Some(name)) =
            (tokens.get(from), tokens.get(from + 1), tokens.get(from + 2))
            && dot.is(".")
            && let (Some(space), Some(name)) = (space.name(), name.name())
        {
            found.push(format!("{space}.{name}").to_lowercase());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Dictionary {
        let map = |name: &str, oid| (name.to_owned(), vec![("public".to_owned(), oid)]);
        Dictionary {
            settings: HashSet::new(),
            users: HashSet::new(),
            relations: [map("patients", 1), map("notes", 2)].into(),
            functions: [map("ctx", 10)].into(),
        }
    }

    #[test]
    fn what_a_body_names() {
        let body = read(
            "plpgsql",
            "begin perform set_config('App.T', 'x', false); new.tenant_id := ctx();
             insert into public.patients(a) select 1 from notes n, patients where x = current_setting('app.t', true);
             exception when others then raise exception 'no'; end",
            &names(),
        );
        assert_eq!(
            (body.reads, body.writes, body.calls),
            (vec![1, 2], vec![1], vec![10])
        );
        assert_eq!(body.session_sets, ["app.t"]);
        assert_eq!(body.settings, ["app.t"]);
        assert_eq!(body.unqualified, ["notes", "patients"]);
        assert_eq!(body.assigns, ["tenant_id"]);
        assert!(body.swallows && body.raises && body.session && !body.dynamic);
    }

    #[test]
    fn dynamic_text_is_read_too_and_other_languages_are_opaque() {
        let body = read(
            "plpgsql",
            "begin execute format('delete from notes where id = %L', x); end",
            &names(),
        );
        assert_eq!((body.dynamic, body.writes), (true, vec![2]));
        assert!(read("c", "x", &names()).opaque);
        assert_eq!(
            set_statements("begin set app.t = 'x'; set local app.u = 'y'; end"),
            ["app.t"]
        );
    }
}
