//! Alternatives of policies that an exception for shared rows declares: `using (is_public)`
//! where the file says `where = "is_public"`. Reading such rows is what is meant; writing
//! them never is.

use super::exceptions::names_object;
use super::lexer::{Token, split, strip, tokens};
use crate::verify::model::{Exception, ExceptionKind, Oid, OpenKind, Policy, Relation};

/// (relation, the alternative's text, the role it is declared for).
pub(super) type Declared = (Oid, String, Option<String>);

pub(super) fn declared(
    policies: &[Policy],
    relations: &[Relation],
    exceptions: &[Exception],
) -> Vec<Declared> {
    let mut found = Vec::new();
    for exception in exceptions {
        let Some(filter) = &exception.filter else {
            continue;
        };
        if exception.expired || exception.kind != ExceptionKind::SharedRows {
            continue;
        }
        let named = relations
            .iter()
            .filter(|relation| names_object(&exception.object, &relation.name));
        for relation in named {
            let texts = Policy::on(policies, relation.oid)
                .flat_map(|predicate| &predicate.open)
                .filter(|open| open.kind == OpenKind::Row && narrows(&open.text, filter))
                .map(|open| open.text.clone());
            found.extend(texts.map(|text| (relation.oid, text, exception.role.clone())));
        }
    }
    found.dedup();
    found
}

/// Whether all rows that `text` lets through are among those of `filter`: it asks for
/// the same, and perhaps for more.
fn narrows(text: &str, filter: &str) -> bool {
    let filter = tokens(filter);
    let wanted = conditions(&filter);
    let text = tokens(text);
    let asked = conditions(&text);
    wanted.iter().all(|one| asked.contains(one))
}

/// What is asked for throughout, without casts and brackets.
fn conditions(tokens: &[Token]) -> Vec<Vec<String>> {
    split(strip(tokens), "and")
        .into_iter()
        .map(|part| plain(strip(part)))
        .collect()
}

fn plain(tokens: &[Token]) -> Vec<String> {
    let mut list = Vec::new();
    let mut rest = tokens.iter().peekable();
    while let Some(token) = rest.next() {
        if token.is("::") {
            // A type's name, with its schema, in one word or two.
            rest.next();
            while rest
                .next_if(|next| next.is(".") || next.is_word("varying"))
                .is_some_and(|dot| dot.is("."))
            {
                rest.next();
            }
        } else if !token.is("(") && !token.is(")") {
            list.push(match token {
                Token::Text(text) => format!("'{text}'"),
                Token::Word(text)
                | Token::Quoted(text)
                | Token::Number(text)
                | Token::Punct(text) => text.clone(),
            });
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::narrows;

    #[test]
    fn the_same_condition_or_a_narrower_one() {
        assert!(narrows("is_public", "is_public"));
        assert!(narrows("(status = 'active'::text)", "status = 'active'"));
        assert!(narrows("((kind)::text = 'x'::text)", "kind = 'x'"));
        assert!(narrows("(\"tenantId\" = 0)", "\"tenantId\" = 0"));
        assert!(narrows("is_public and (state = 'x'::a.s)", "is_public"));
        assert!(!narrows("is_public or state = 'x'", "is_public"));
        assert!(!narrows("state = 'x'", "state = 'x' and is_public"));
        assert!(!narrows("not is_public", "is_public"));
        assert!(!narrows("(status = 'draft'::text)", "status = 'active'"));
    }
}
