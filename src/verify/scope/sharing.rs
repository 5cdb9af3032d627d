//! Rows that tenants share on purpose: a policy shows them where a row of another
//! table names both the row and the session's tenant.

use std::collections::{BTreeSet, HashMap};

use super::lexer::{Token, tokens};
use super::raw::Snapshot;
use crate::db::ident::Ident;
use crate::verify::model::{
    Body, Exception, ExceptionKind, Oid, Policy, Predicate, Relation, Shared, TenantKey,
};

/// Marks the relations whose rows are shared, and makes the rows that share them
/// belong to both ends. Gives back what was concluded, as sentences.
pub(crate) fn apply(
    snapshot: &Snapshot,
    relations: &mut [Relation],
    policies: &[Policy],
    bodies: &HashMap<Oid, Body>,
    exceptions: &[Exception],
) -> Vec<String> {
    let mut found = Vec::new();
    // Where a declaration says which rows are shared, nothing more is.
    let told = |relation: &Relation| {
        exceptions.iter().any(|one| {
            one.kind == ExceptionKind::SharedRows
                && one.filter.is_some()
                && !one.expired
                && super::names_object(&one.object, &relation.name)
        })
    };
    for relation in relations.iter().filter(|relation| !told(relation)) {
        let TenantKey::Column { column: key, .. } = &relation.tenant else {
            continue;
        };
        let shown = policies
            .iter()
            .filter(|policy| policy.relation == relation.oid && policy.permissive)
            .filter(|policy| matches!(policy.command, 'r' | '*'))
            .filter_map(|policy| policy.using.as_ref());
        for using in shown {
            for oid in &using.reads {
                let link = relations
                    .iter()
                    .find(|link| link.oid == *oid && *oid != relation.oid);
                if let Some(share) = link
                    .and_then(|link| share(snapshot, relation, link, using, bodies))
                    .filter(|share| share.target != *key)
                {
                    found.push((relation.oid, share));
                }
            }
        }
    }
    let mut sentences = Vec::new();
    for (oid, share) in found {
        let Some(relation) = relations.iter().find(|relation| relation.oid == oid) else {
            continue;
        };
        let Some(link) = relations.iter().find(|link| link.oid == share.link) else {
            continue;
        };
        let TenantKey::Column { column: key, .. } = &relation.tenant else {
            continue;
        };
        sentences.push(format!(
            "rows of `{}` are shared on purpose with whom a row of `{}` names in `{}`",
            relation.label, link.label, share.receiver
        ));
        let join: Vec<String> = share
            .columns
            .iter()
            .map(|(own, target)| format!("{}.{target} = {}.{own}", relation.name, link.name.name))
            .collect();
        let ends = format!(
            "{2}.{3}::text = :tenant or exists (select from {0} where {4} and {0}.{1}::text = :tenant)",
            relation.name,
            key,
            link.name.name,
            share.receiver,
            join.join(" and ")
        );
        let link = link.oid;
        for one in relations.iter_mut() {
            let guarded = matches!(
                one.tenant,
                TenantKey::Column { .. } | TenantKey::Parent { .. }
            );
            if one.oid == link && guarded {
                one.tenant = TenantKey::Owns(ends.clone());
            } else if one.oid == oid {
                one.shared.push(share.clone());
            }
        }
    }
    sentences
}

/// How a row of `link` shares a row of `relation`, where a predicate asks for one.
fn share(
    snapshot: &Snapshot,
    relation: &Relation,
    link: &Relation,
    using: &Predicate,
    bodies: &HashMap<Oid, Body>,
) -> Option<Shared> {
    let mut text = tokens(&using.text);
    for (oid, body) in using
        .functions
        .iter()
        .filter_map(|oid| Some((oid, bodies.get(oid)?)))
    {
        let function = snapshot.function(*oid);
        text.push(Token::Punct(";".to_owned()));
        text.extend(unqualified(
            tokens(&body.text),
            function.map_or("", |function| &function.name),
        ));
    }
    let TenantKey::Column {
        type_name,
        column: key,
        ..
    } = &relation.tenant
    else {
        return None;
    };
    let name = |of: &Relation, number: i16| {
        let mut columns = of.columns.iter();
        columns.find(|column| column.number == number).cloned()
    };
    let named = snapshot
        .references
        .iter()
        .filter(|reference| reference.child == link.oid && reference.parent == relation.oid)
        .find_map(|reference| {
            reference
                .columns
                .iter()
                .zip(&reference.targets)
                .map(|(own, target)| Some((name(link, *own)?.name, name(relation, *target)?.name)))
                .collect::<Option<Vec<_>>>()
        })?;
    // The row itself is named by what is not the tenant that it belongs to.
    let mut rows = named.iter().filter(|(_, target)| target != key);
    let (refers, target) = rows.next().filter(|_| rows.next().is_none())?.clone();
    if !found_by(&text, refers.as_str(), target.as_str()) {
        return None;
    }
    // Whoever is named there is compared with the session, not with the row.
    let joined: BTreeSet<&str> = joined(&text);
    let compared = |column: &str| {
        text.iter().enumerate().any(|(at, token)| {
            let next = text.get(at + 1);
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            token.name() == Some(column)
                && (next.is_some_and(|next| next.is("=") || next.is_word("in"))
                    || before.is_some_and(|before| before.is("=") || before.is(".")))
        })
    };
    // A user within a tenant is no tenant: each refers to a table of its own.
    let leads = |of: &Relation, name: &Ident| -> BTreeSet<Oid> {
        let number = of.columns.iter().find(|column| column.name == *name);
        let own = snapshot.references.iter().filter(|reference| {
            reference.child == of.oid
                && number.is_some_and(|column| reference.columns.contains(&column.number))
        });
        own.map(|reference| reference.parent).collect()
    };
    let tenants = leads(relation, key);
    let elsewhere = |column: &crate::verify::model::Column| {
        let told = leads(link, &column.name);
        !told.is_empty() && !tenants.is_empty() && told.is_disjoint(&tenants)
    };
    // With a person of a tenant nothing is shared that is another tenant's.
    let about_user = |name: &Ident| super::entry::about_user(name.as_str());
    // What others name a row of the link by, or is called so and refers to nothing, is its own key.
    let key_of_link = |column: &crate::verify::model::Column| {
        let name = column.name.as_str();
        leads(link, &column.name).is_empty()
            && (name == "id"
                || snapshot.references.iter().any(|reference| {
                    reference.parent == link.oid && reference.targets == [column.number]
                }))
    };
    let receives = |column: &&crate::verify::model::Column| {
        (about_user(key) || !about_user(&column.name))
            && !named.iter().any(|(own, _)| *own == column.name)
            && !elsewhere(column)
            && !key_of_link(column)
            && column.type_name == *type_name
            && compared(column.name.as_str())
            && !joined.contains(column.name.as_str())
    };
    let receivers: Vec<_> = link.columns.iter().filter(receives).collect();
    let usual = match &link.tenant {
        TenantKey::Column { column, .. } => receivers.iter().find(|one| one.name == *column),
        _ => None,
    };
    let receiver = match (&receivers[..], usual) {
        ([one], _) => one,
        (_, usual) => usual?,
    };
    let join: Vec<String> = named
        .iter()
        .map(|(own, target)| format!("{}.{own} = {}.{target}", link.name, relation.name.name))
        .collect();
    let join = join.join(" and ");
    Some(Shared {
        link: link.oid,
        predicate: format!(
            "exists (select from {0} where {join} and {0}.{1}::text = :tenant)",
            link.name, receiver.name
        ),
        stamp: named
            .iter()
            .find(|(_, target)| target == key)
            .map(|(own, _)| own.clone()),
        columns: named,
        refers,
        target,
        receiver: receiver.name.clone(),
    })
}

/// Parameters as they are called within the function: of a body that begins with `begin atomic`
/// the server writes `lent.p` for the parameter `p` of `lent`, which reads like a column.
fn unqualified(text: Vec<Token>, function: &str) -> Vec<Token> {
    let mut all = Vec::with_capacity(text.len());
    let mut rest = text.into_iter().peekable();
    while let Some(token) = rest.next() {
        let first = !all.last().is_some_and(|before: &Token| before.is("."));
        if first && token.name() == Some(function) && rest.next_if(|dot| dot.is(".")).is_some() {
            continue;
        }
        all.push(token);
    }
    all
}

/// Whether a text finds rows by this column: it speaks of it, and not only to join another
/// table's column that is not the one referred to.
fn found_by(text: &[Token], refers: &str, target: &str) -> bool {
    let dotted = |at: usize| {
        let dot = text.get(at + 1).is_some_and(|token| token.is("."));
        (dot && !text.get(at + 3).is_some_and(|next| next.is("(")))
            .then(|| text.get(at + 2).and_then(Token::name))
            .flatten()
    };
    text.iter().enumerate().any(|(at, token)| {
        if token.name() != Some(refers) || text.get(at + 1).is_some_and(|next| next.is(".")) {
            return false;
        }
        let after = text
            .get(at + 1)
            .filter(|next| next.is("="))
            .and_then(|_| dotted(at + 2));
        // `other.column = link.refers`
        let before = at
            .checked_sub(6)
            .filter(|_| text[at - 1].is(".") && text[at - 3].is("="))
            .and_then(dotted);
        after.or(before).is_none_or(|other| other == target)
    })
}

/// Columns that a text compares with columns: `s.owner = r.owner`.
fn joined(text: &[Token]) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if !token.is("=") || at < 3 {
            continue;
        }
        if let ([_, dot, own], [_, other_dot, other, ..]) = (&text[at - 3..at], &text[at + 1..])
            && dot.is(".")
            && other_dot.is(".")
            && !text.get(at + 4).is_some_and(|next| next.is("("))
        {
            found.extend(own.name());
            found.extend(other.name());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_what_names_it() {
        let found = |text: &str| found_by(&tokens(text), "doc_id", "id");
        for text in [
            "exists (select from s where s.doc_id = doc.id)",
            "exists (select from s where doc.id = s.doc_id and s.org = f())",
            "id in (select s.doc_id from s where s.org = f())",
            "select from s where doc_id = wanted and s.org = f()",
            "select from s where s.doc_id = $1",
            "select from s where s.doc_id = a.b(x)",
        ] {
            assert!(found(text), "{text}");
        }
        for text in [
            "select tenant from s where s.member = f()",
            "select from s join t on t.doc_id = s.doc_id where s.member = f()",
        ] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_no_column() {
        let text = "select from s where (s.doc_id = lent.d) and x.lent.d = lent(1)";
        let own = unqualified(tokens(text), "lent");
        assert!(!found_by(&tokens(text), "doc_id", "id"));
        assert!(found_by(&own, "doc_id", "id"));
        assert_eq!(own.len(), tokens(text).len() - 2);
    }

    #[test]
    fn columns_that_join() {
        let text = tokens("(s.doc_id = doc.id) and s.owner = doc.owner and s.org = auth.uid()");
        let found = joined(&text);
        assert!(found.contains("doc_id") && found.contains("owner") && !found.contains("org"));
    }
}
