//! The shape of a deparsed policy predicate: which of its alternatives tie the
//! row to the session, and which let rows through without that.
//!
//! Works on what `pg_get_expr` prints with an empty search path. It says less
//! than the algebra, which evaluates the predicate, but it needs no rows: an
//! alternative that no row matches today is seen all the same.

use std::collections::{BTreeSet, HashSet};

use super::brackets::closing;
use super::lexer::{Token, split, strip, tokens};
use super::{joins, rows};
use crate::verify::model::{Join, Oid, Open, OpenKind, Predicate};

/// What a function does, as far as a predicate needs to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Callee {
    /// Its oid.
    pub(crate) oid: Oid,
    /// Its result depends on the session.
    pub(crate) session: bool,
    /// Its text cannot be read.
    pub(crate) opaque: bool,
    /// It takes documents apart: what it reads may say more than who the user is.
    pub(crate) document: bool,
    /// Settings it reads, transitively.
    pub(crate) settings: Vec<String>,
    /// Relations it reads, transitively.
    pub(crate) reads: Vec<Oid>,
    /// What its text speaks of, where it takes documents apart.
    pub(crate) texts: Vec<String>,
    /// An alternative of its text that nothing ties to the session, while others are.
    pub(crate) loose: Option<String>,
}

/// What names in a predicate mean.
pub(crate) trait Names {
    /// Functions of that name outside of the system schemas.
    fn functions(&self, schema: Option<&str>, name: &str) -> Vec<Callee>;
    /// Whether a function of that name reads the setting that it is called with.
    fn hands_out_settings(&self, _name: &str) -> bool {
        false
    }
    /// Whether a setting or a function of that name tells who the user is.
    fn about_user(&self, name: &str) -> bool {
        super::entry::about_user(name)
    }
    /// The relation of that name, and whether RLS is enabled on it.
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<(Oid, bool)>;
}

/// The relation that a predicate stands on.
pub(crate) struct Own<'a> {
    /// Its name without schema.
    pub(crate) name: &'a str,
    /// Its columns.
    pub(crate) columns: HashSet<&'a str>,
}

/// Reads a predicate.
pub(crate) fn read(text: &str, own: &Own<'_>, names: &dyn Names) -> Predicate {
    let tokens = tokens(text);
    let mut reader = Reader {
        own,
        names,
        seen: Seen::default(),
    };
    let open = reader.alternatives(&tokens);
    Predicate {
        text: text.to_owned(),
        open: open.unwrap_or_default(),
        settings: reader.seen.settings.into_iter().collect(),
        functions: reader.seen.functions.into_iter().collect(),
        reads: reader.seen.reads.into_iter().collect(),
        tied_columns: reader.seen.tied.into_iter().collect(),
        session_columns: reader.seen.session.into_iter().collect(),
        user_columns: reader.seen.user.into_iter().collect(),
        pairs: reader.seen.pairs.into_iter().collect(),
        role_columns: reader.seen.roles.into_iter().collect(),
        joins: reader.seen.ties.into_iter().flatten().collect(),
        finds: reader.seen.finds,
        spares_user: spares_user(&tokens, names),
    }
}

/// Whether what a text compares need not be equal for it to hold.
fn negative(tokens: &[Token]) -> bool {
    let not = tokens.first().is_some_and(|token| token.is_word("not"));
    let ends = |words: &[&str]| {
        let start = tokens.len().checked_sub(words.len());
        let end = start.and_then(|start| tokens.get(start..));
        end.is_some_and(|end| {
            end.iter()
                .zip(words)
                .all(|(token, word)| token.is_word(word))
        })
    };
    let (denied, not_true) = (ends(&["is", "false"]), ends(&["is", "not", "true"]));
    // `is not distinct from` is printed as the negation of its opposite; it is never null.
    let distinct = tokens
        .windows(2)
        .any(|pair| pair[0].is_word("distinct") && pair[1].is_word("from"));
    if distinct {
        return not == (denied || not_true);
    }
    let unequal = tokens.iter().enumerate();
    let unequal = unequal.filter(|(at, token)| token.is("<>") && !narrows_query(tokens, *at));
    let unequal = unequal.count();
    // What compares with nothing is not true either.
    if not_true {
        return !(not && unequal == 0);
    }
    let not = not != denied;
    let joined = tokens
        .iter()
        .any(|token| token.is_word("and") || token.is_word("or"));
    // Not unequal is equal, where it is all that is said.
    !(not && unequal == 1 && !joined) && (not || unequal > 0)
}

/// Whether what must differ there is a literal, of rows that a query finds by other
/// conditions: `exists (select .. and m.state <> 'gone')`.
fn narrows_query(tokens: &[Token], at: usize) -> bool {
    let mut queries = Vec::new(); // per open bracket: it holds a query
    for (place, token) in tokens[..at].iter().enumerate() {
        if token.is("(") {
            queries.push(tokens[place + 1].is_word("select"));
        } else if token.is(")") {
            queries.pop();
        }
    }
    let literal = |token: &Token| matches!(token, Token::Text(_) | Token::Number(_));
    let listed = || {
        let end = closing(tokens, at + 2)?;
        let list = tokens.get(at + 2..end)?;
        let type_name =
            |place: usize| place > 0 && (list[place - 1].is("::") || list[place - 1].is("."));
        let mut all = list.iter().enumerate();
        let plain = all.all(|(place, token)| {
            token.name().is_none() || token.is_word("array") || type_name(place)
        });
        Some(plain && list.iter().any(literal))
    };
    queries.contains(&true)
        && tokens
            .get(at + 1)
            .is_some_and(|next| literal(next) || next.is_word("all") && listed().unwrap_or(false))
}

/// Whether a text asks that something differ from who the user is: `user_id <> auth.uid()`.
fn spares_user(tokens: &[Token], known: &dyn Names) -> bool {
    let joins = |token: &Token| token.is_word("and") || token.is_word("or");
    tokens.iter().enumerate().any(|(at, token)| {
        let differs = token.is("<>") || token.is("!=");
        let side = |all: Vec<&Token>| {
            all.windows(2).any(|pair| {
                let names = |one: &Token| one.name().is_some_and(|name| known.about_user(name));
                let told = matches!(pair[1], Token::Text(text) if known.about_user(text));
                pair[1].is("(") && names(pair[0]) || pair[0].is("(") && (names(pair[1]) || told)
            })
        };
        differs
            && (side(
                tokens[at + 1..]
                    .iter()
                    .take(8)
                    .take_while(|token| !joins(token))
                    .collect(),
            ) || side(
                tokens[..at]
                    .iter()
                    .rev()
                    .take(8)
                    .take_while(|token| !joins(token))
                    .collect(),
            ))
    })
}

#[derive(Default)]
struct Seen {
    settings: BTreeSet<String>,
    functions: BTreeSet<Oid>,
    reads: BTreeSet<Oid>,
    tied: BTreeSet<String>,
    session: BTreeSet<String>,
    user: BTreeSet<String>,
    pairs: BTreeSet<(String, String)>,
    roles: BTreeSet<String>,
    /// Of each alternative that is tied: the rows of other tables that tie it, if it is by these.
    ties: Vec<Option<Vec<Join>>>,
    finds: Vec<Join>,
}

struct Reader<'a> {
    own: &'a Own<'a>,
    names: &'a dyn Names,
    seen: Seen,
}

#[derive(Default)]
struct Atom {
    columns: BTreeSet<String>,
    session: bool,
    who: bool,
    others: bool,
    open_table: bool,
    bound_table: bool,
    opaque: bool,
    document: bool,
    loose: Option<String>,
    /// A function in it reads tables: what it finds there for a user is not who the user is.
    looks_up: bool,
    texts: Vec<String>,
    settings: BTreeSet<String>,
}

impl Atom {
    /// It looks at rows of another table.
    fn others_rows(&self) -> bool {
        self.bound_table || self.open_table
    }
}

impl Reader<'_> {
    /// The open alternatives; none where no row passes at all.
    fn alternatives(&mut self, tokens: &[Token]) -> Option<Vec<Open>> {
        let tokens = strip(tokens);
        let branches = split(tokens, "or");
        if branches.len() > 1 {
            let open: Vec<_> = branches
                .into_iter()
                .filter_map(|branch| self.alternatives(branch))
                .collect();
            return (!open.is_empty()).then(|| open.into_iter().flatten().collect());
        }
        let parts = split(tokens, "and");
        if parts.len() > 1 {
            return self.conjunction(tokens, &parts);
        }
        if let Some(pairs) = rows::pairs(tokens) {
            let parts: Vec<&[Token]> = pairs.iter().map(Vec::as_slice).collect();
            let before = self.seen.ties.len();
            let open = self.conjunction(tokens, &parts);
            self.one_row(before);
            return open;
        }
        match tokens {
            [word] if word.is_word("false") => None,
            [word] if word.is_word("true") => Some(vec![open(tokens, OpenKind::True)]),
            _ => Some(self.atom(tokens).into_iter().collect()),
        }
    }

    fn conjunction(&mut self, whole: &[Token], parts: &[&[Token]]) -> Option<Vec<Open>> {
        let start = self.seen.ties.len();
        let mut ties = Vec::new();
        let mut opens = Vec::new();
        for part in parts {
            let open = self.alternatives(part);
            ties.push(self.seen.ties.split_off(start));
            opens.push(open?);
        }
        self.seen.ties.extend(both(ties));
        if opens.iter().any(Vec::is_empty) {
            return Some(Vec::new());
        }
        // The part that asks for most says what kind of hole this is.
        let narrowest = opens
            .into_iter()
            .map(|open| open.into_iter().min_by_key(|open| rank(open.kind)))
            .max_by_key(|open| open.as_ref().map(|open| rank(open.kind)))
            .flatten();
        Some(
            narrowest
                .map(|part| Open {
                    text: render(whole),
                    ..part
                })
                .into_iter()
                .collect(),
        )
    }

    /// A comparison of whole rows finds one row by all of its columns.
    fn one_row(&mut self, start: usize) {
        let joins: Vec<Join> = self
            .seen
            .ties
            .split_off(start)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        let whole = joins.split_first().map(|(first, rest)| {
            let mut whole = first.clone();
            whole
                .pairs
                .extend(rest.iter().flat_map(|join| join.pairs.clone()));
            vec![whole]
        });
        self.seen.ties.push(whole);
    }

    fn atom(&mut self, tokens: &[Token]) -> Option<Open> {
        let atom = self.look(tokens);
        let negative = negative(tokens);
        let row = !atom.columns.is_empty();
        let session = atom.session || atom.who;
        if row && !negative && (session || atom.opaque || atom.bound_table) {
            if session || !atom.bound_table {
                self.seen.session.extend(atom.columns.iter().cloned());
            }
            if let (Some(column), Some(setting)) = (atom.columns.first(), atom.settings.first())
                && atom.columns.len() == 1
                && atom.settings.len() == 1
                && !atom.others_rows()
            {
                self.seen.pairs.insert((column.clone(), setting.clone()));
            }
            // Nothing stands between the column and the name of who is connected.
            let equal = tokens.iter().filter(|token| token.is("=")).count() == 1;
            if atom.columns.len() == 1 && atom.who && !atom.others && equal {
                self.seen.roles.extend(atom.columns.iter().cloned());
            }
            // Also by a function of any name that reads who the user is.
            let settings = !atom.document
                && !atom.looks_up
                && !atom.settings.is_empty()
                && atom.settings.iter().all(|name| self.names.about_user(name));
            if atom.columns.len() == 1
                && !atom.others_rows()
                && (self.by_user(tokens) || settings && equal)
            {
                self.seen.user.extend(atom.columns.iter().cloned());
            }
            let join = atom
                .others_rows()
                .then(|| joins::read(tokens, self.own, self.names))
                .flatten();
            self.seen.finds.extend(join.clone());
            self.seen.ties.push(join.map(|join| vec![join]));
            // Nothing equals nothing there: without a context, rows without a tenant.
            let one = atom.columns.first().filter(|_| atom.columns.len() == 1);
            let shares = one
                .filter(|_| tokens.iter().any(|token| token.is_word("distinct")))
                .map(|column| Open {
                    text: format!("{column} is null"),
                    ..open(tokens, OpenKind::SharedRows)
                });
            self.seen.tied.extend(atom.columns);
            // What the function lets through beside that is not tied.
            let loose = atom.loose.map(|text| Open {
                text,
                ..open(tokens, OpenKind::Row)
            });
            let unset = falls_back(tokens, self.own).then(|| Open {
                settings: atom.settings.into_iter().collect(),
                ..open(tokens, OpenKind::Session)
            });
            return loose.or(shares).or(unset);
        }
        let null = matches!(tokens, [.., is, null] if is.is_word("is") && null.is_word("null"));
        let kind = match (row, session) {
            (true, false) if null && atom.columns.len() == 1 && tokens.len() <= 5 => {
                OpenKind::SharedRows
            }
            (true, _) => OpenKind::Row,
            (false, _) if captured(tokens, self.own) => OpenKind::Table,
            (false, _) if atom.who && !atom.others => OpenKind::Role,
            (false, true) => OpenKind::Session,
            (false, false) if atom.open_table || atom.bound_table || atom.opaque => OpenKind::Table,
            (false, false) => OpenKind::True,
        };
        let (roles, texts) = match kind {
            OpenKind::Role => (atom.texts, Vec::new()),
            _ => (Vec::new(), atom.texts),
        };
        let settings = atom.settings.into_iter().collect();
        Some(Open {
            roles,
            texts,
            settings,
            ..open(tokens, kind)
        })
    }

    fn look(&mut self, tokens: &[Token]) -> Atom {
        let mut atom = Atom::default();
        let mut queries = Vec::new(); // per open bracket: it holds a sub-select
        for (at, token) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let next = tokens.get(at + 1);
            match token {
                Token::Punct(punct) if punct == "(" => {
                    queries.push(next.is_some_and(|next| next.is_word("select")))
                }
                Token::Punct(punct) if punct == ")" => drop(queries.pop()),
                Token::Text(text) => atom.texts.push(text.clone()),
                Token::Word(name) | Token::Quoted(name) => {
                    if before.is_some_and(|before| before.is("::"))
                        || next.is_some_and(|next| next.is(".")) && !self.is_own(token, tokens, at)
                    {
                        continue;
                    }
                    let schema = qualifier(tokens, at);
                    if next.is_some_and(|next| next.is(".")) {
                        atom.columns.insert("*".to_owned()); // the whole row
                    } else if next.is_some_and(|next| next.is("(")) {
                        self.call(&mut atom, schema, name, tokens.get(at + 2));
                    } else if before.is_some_and(|before| {
                        before.is_word("from") || before.is_word("join") || before.is("(")
                    }) && queries.contains(&true)
                        || schema.is_some_and(|schema| schema != self.own.name)
                            && self.names.relation(schema, name).is_some()
                    {
                        self.table(&mut atom, schema, name);
                    } else {
                        self.word(&mut atom, token, name, schema, queries.contains(&true));
                    }
                }
                _ => {}
            }
        }
        atom
    }

    /// An equality with what names the user: a function or a setting or a claim of such a name.
    /// What a function finds in a table for a user is a user only where its name says so to
    /// the end: `get_user_company(auth.uid())` is a company.
    fn by_user(&self, tokens: &[Token]) -> bool {
        if tokens.iter().filter(|token| token.is("=")).count() != 1 {
            return false;
        }
        let mut hidden = 0; // up to here stand the arguments of a function that looks up
        for (at, token) in tokens.iter().enumerate() {
            if at < hidden {
                continue;
            }
            if let Token::Text(text) = token {
                if self.names.about_user(text) {
                    return true;
                }
                continue;
            }
            let Some(name) = token.name() else { continue };
            if !tokens.get(at + 1).is_some_and(|next| next.is("(")) {
                continue;
            }
            let callees = self.names.functions(qualifier(tokens, at), name);
            let looks_up = callees.iter().any(|callee| !callee.reads.is_empty());
            if looks_up && !super::entry::gives_user(name) {
                hidden = closing(tokens, at + 1).unwrap_or(tokens.len());
            } else if looks_up || self.names.about_user(name) {
                return true;
            }
        }
        false
    }

    /// `patients.` in front of a column, as sub-selects print the outer row.
    fn is_own(&self, token: &Token, tokens: &[Token], at: usize) -> bool {
        token.name() == Some(self.own.name) && tokens.get(at + 2).is_some_and(|token| token.is("*"))
    }

    fn word(
        &mut self,
        atom: &mut Atom,
        token: &Token,
        name: &str,
        schema: Option<&str>,
        inside: bool,
    ) {
        let own = match schema {
            Some(schema) => schema == self.own.name,
            None => !inside,
        };
        if own && self.own.columns.contains(name) {
            atom.columns.insert(name.to_owned());
        } else if name == self.own.name && inside {
            atom.columns.insert("*".to_owned());
        } else if ["current_user", "session_user", "current_role", "user"]
            .iter()
            .any(|word| token.is_word(word))
        {
            atom.who = true;
        }
    }

    fn table(&mut self, atom: &mut Atom, schema: Option<&str>, name: &str) {
        if let Some((oid, bound)) = self.names.relation(schema, name) {
            self.seen.reads.insert(oid);
            atom.bound_table |= bound;
            atom.open_table |= !bound;
            atom.others = true;
        }
    }

    fn call(
        &mut self,
        atom: &mut Atom,
        schema: Option<&str>,
        name: &str,
        argument: Option<&Token>,
    ) {
        match name {
            "current_setting" => {
                atom.session = true;
                atom.others = true;
                match argument {
                    Some(Token::Text(setting)) => {
                        atom.settings.insert(setting.to_lowercase());
                        self.seen.settings.insert(setting.to_lowercase());
                    }
                    _ => atom.opaque = true,
                }
            }
            "pg_has_role" | "current_user" | "session_user" | "getpgusername" => atom.who = true,
            "inet_client_addr"
            | "inet_client_port"
            | "pg_backend_pid"
            | "inet_server_addr"
            | "current_query"
            | "pg_postmaster_start_time" => {
                atom.session = true;
                atom.others = true;
            }
            // The time is the same for every tenant: it ties a row to nobody.
            "now" | "random" | "clock_timestamp" => atom.others = true,
            _ => {
                if let Some(Token::Text(setting)) = argument
                    && self.names.hands_out_settings(name)
                    && super::body::is_setting(setting)
                {
                    atom.settings.insert(setting.to_lowercase());
                    self.seen.settings.insert(setting.to_lowercase());
                }
                let callees = self.names.functions(schema, name);
                for callee in callees {
                    self.seen.functions.insert(callee.oid);
                    atom.settings.extend(callee.settings.iter().cloned());
                    self.seen.settings.extend(callee.settings);
                    atom.looks_up |= !callee.reads.is_empty();
                    self.seen.reads.extend(callee.reads);
                    atom.session |= callee.session;
                    atom.opaque |= callee.opaque;
                    atom.document |= callee.document;
                    atom.texts.extend(callee.texts);
                    if let Some(text) = callee.loose {
                        atom.loose = Some(format!("{name}(): {text}"));
                    }
                    atom.others = true;
                }
            }
        }
    }
}

/// What ties a conjunction, of what ties its parts: where one of them is tied by the
/// session alone, that is enough; rows of several tables must all fail to tell whose it is.
fn both(parts: Vec<Vec<Option<Vec<Join>>>>) -> Vec<Option<Vec<Join>>> {
    let tied: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if tied.iter().any(|part| part.iter().all(Option::is_none)) {
        return vec![None];
    }
    match tied.len() {
        0 => Vec::new(),
        1 => tied.into_iter().flatten().collect(),
        _ => vec![Some(
            tied.into_iter().flatten().flatten().flatten().collect(),
        )],
    }
}

/// Whether a row is compared with itself where a setting was never set:
/// `tenant_id = coalesce(current_setting('app.tenant', true)::int, tenant_id)`.
fn falls_back(tokens: &[Token], own: &Own<'_>) -> bool {
    let names = |token: &Token| token.name().is_some_and(|name| own.columns.contains(name));
    tokens.iter().enumerate().any(|(at, token)| {
        if !token.is_word("coalesce") || !tokens.get(at + 1).is_some_and(|next| next.is("(")) {
            return false;
        }
        let end = closing(tokens, at + 1).unwrap_or(tokens.len());
        let inside = tokens.get(at + 2..end).unwrap_or_default();
        // Without the second argument an unset setting is an error.
        let unset = inside.windows(7).any(|window| {
            window[0].is_word("current_setting")
                && window[3..].iter().any(|one| one.is_word("true"))
        });
        let compared = tokens[..at]
            .iter()
            .chain(tokens.get(end..).unwrap_or_default());
        unset && inside.last().is_some_and(names) && {
            let last = inside.last().and_then(Token::name);
            compared
                .filter(|one| names(one))
                .any(|one| one.name() == last)
        }
    })
}

fn qualifier(tokens: &[Token], at: usize) -> Option<&str> {
    (at >= 2 && tokens[at - 1].is("."))
        .then(|| tokens[at - 2].name())
        .flatten()
}

/// Whether a sub-select compares two columns of its own table of which one has
/// the name of a column of the row: the name was meant for the row, and found nearer.
fn captured(tokens: &[Token], own: &Own<'_>) -> bool {
    tokens.windows(7).any(|part| {
        let [of, dot, left, equal, also, point, right] = part else {
            return false;
        };
        let both = dot.is(".") && point.is(".") && equal.is("=");
        let names = left.name().zip(right.name()).filter(|_| both);
        of.name().is_some()
            && of.name() == also.name()
            && names.is_some_and(|(left, right)| {
                left != right && (own.columns.contains(left) || own.columns.contains(right))
            })
    })
}

fn rank(kind: OpenKind) -> u8 {
    match kind {
        OpenKind::True => 0,
        OpenKind::Row => 1,
        OpenKind::SharedRows => 2,
        OpenKind::Table => 3,
        OpenKind::Session => 4,
        OpenKind::Role => 5,
    }
}

fn open(tokens: &[Token], kind: OpenKind) -> Open {
    Open {
        text: render(tokens),
        kind,
        roles: Vec::new(),
        settings: Vec::new(),
        texts: Vec::new(),
    }
}

/// Writes tokens back, for messages.
pub(super) fn render(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        let (part, tight) = match token {
            Token::Word(word) | Token::Number(word) => (word.clone(), false),
            Token::Quoted(word) => (format!("\"{}\"", word.replace('"', "\"\"")), false),
            Token::Text(word) => (format!("'{}'", word.replace('\'', "''")), false),
            Token::Punct(word) => (
                word.clone(),
                matches!(word.as_str(), "." | "," | ")" | "::" | "(" | "[" | "]"),
            ),
        };
        let glued = text.is_empty() || text.ends_with(['.', '(', ':', '[']) || tight;
        text.push_str(if glued { "" } else { " " });
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Few;

    impl Names for Few {
        fn functions(&self, _: Option<&str>, name: &str) -> Vec<Callee> {
            let callee = |session| {
                vec![Callee {
                    oid: 1,
                    session,
                    ..Callee::default()
                }]
            };
            match name {
                "ctx" | "ok_tenant" => callee(true),
                "is_public" => callee(false),
                _ => Vec::new(),
            }
        }

        fn relation(&self, _: Option<&str>, name: &str) -> Option<(Oid, bool)> {
            match name {
                "members" => Some((7, false)),
                "patients" => Some((8, true)),
                _ => None,
            }
        }
    }

    fn kinds(text: &str) -> Vec<OpenKind> {
        let own = Own {
            name: "notes",
            columns: ["tenant_id", "status", "patient_id", "owner"].into(),
        };
        read(text, &own, &Few)
            .open
            .into_iter()
            .map(|open| open.kind)
            .collect()
    }

    #[test]
    fn tied_predicates_have_no_open_alternative() {
        for text in [
            "(tenant_id = (NULLIF(current_setting('app.t'::text, true), ''::text))::uuid)",
            "(tenant_id = ( SELECT (current_setting('app.t'::text))::uuid AS current_setting))",
            "((tenant_id = public.ctx()) AND ((status = 'a'::text) OR (status = 'b'::text)))",
            "((tenant_id = public.ctx()) OR (owner = CURRENT_USER))",
            "public.ok_tenant(tenant_id)",
            "(tenant_id IN ( SELECT m.tenant_id FROM public.members m WHERE (m.user_id = public.ctx())))",
            "(EXISTS ( SELECT 1 FROM public.patients p WHERE (p.id = notes.patient_id)))",
            "false",
            "((tenant_id = public.ctx()) OR false)",
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn open_alternatives_are_seen() {
        for (text, kind) in [
            ("true", OpenKind::True),
            ("(1 = 1)", OpenKind::True),
            ("(status = 'vip'::text)", OpenKind::Row),
            (
                "(((tenant_id = public.ctx()) AND (status = 'a'::text)) OR (status = 'shared'::text))",
                OpenKind::Row,
            ),
            (
                "((tenant_id IS NULL) OR (tenant_id = public.ctx()))",
                OpenKind::SharedRows,
            ),
            (
                "((current_setting('app.t'::text, true) IS NULL) OR (tenant_id = public.ctx()))",
                OpenKind::Session,
            ),
            (
                "((tenant_id = public.ctx()) OR (CURRENT_USER = 'boss'::name))",
                OpenKind::Role,
            ),
            ("(tenant_id <> public.ctx())", OpenKind::Row),
            ("public.is_public(status)", OpenKind::Row),
            (
                "(EXISTS ( SELECT 1 FROM public.members m WHERE (m.user_id = public.ctx())))",
                OpenKind::Session,
            ),
            (
                "(EXISTS ( SELECT 1 FROM public.members m WHERE (m.a = notes.patient_id)))",
                OpenKind::Row,
            ),
            // The row's owner was meant.
            (
                "(EXISTS ( SELECT 1 FROM public.members m WHERE ((m.a = public.ctx()) AND (m.user_id = m.owner))))",
                OpenKind::Table,
            ),
        ] {
            assert_eq!(kinds(text), [kind], "{text}");
        }
    }

    #[test]
    fn rows_of_others_are_found_by() {
        let own = Own {
            name: "notes",
            columns: ["tenant_id", "status", "patient_id", "owner"].into(),
        };
        let found = |text: &str| -> Vec<String> {
            let joins = read(text, &own, &Few).joins;
            joins
                .iter()
                .map(|all| {
                    let one =
                        |join: &Join| format!("{}{:?}{:?}", join.relation, join.pairs, join.others);
                    all.iter().map(one).collect::<Vec<_>>().join("+")
                })
                .collect()
        };
        let by = "8[(\"patient_id\", \"id\")][\"org\"]";
        for text in [
            "(EXISTS ( SELECT FROM public.patients p WHERE ((p.id = notes.patient_id) AND (p.org = public.ctx()))))",
            "(EXISTS ( SELECT 1 FROM public.patients WHERE (((patients.id)::text = (notes.patient_id)::text) AND (patients.org = public.ctx()))))",
            "(patient_id IN ( SELECT p.id FROM public.patients p WHERE (p.org = public.ctx())))",
            "((status = 'a'::text) AND ((patient_id)::text IN ( SELECT p.id FROM public.patients p WHERE (p.org = public.ctx()))))",
        ] {
            assert_eq!(found(text), [by], "{text}");
        }
        assert_eq!(
            found("(ROW(status, patient_id) = ANY ( SELECT p.state, p.id FROM public.patients p))"),
            ["8[(\"status\", \"state\"), (\"patient_id\", \"id\")][]"]
        );
        for text in [
            "((tenant_id = public.ctx()) AND (EXISTS ( SELECT 1 FROM public.patients p WHERE (p.id = notes.patient_id))))",
            "(EXISTS ( SELECT 1 FROM (public.patients p JOIN public.members m ON ((m.a = p.b))) WHERE (p.id = notes.patient_id)))",
            "(tenant_id = public.ctx())",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'. =]{0,80}") {
            let _ = kinds(&text);
        }
    }
}
