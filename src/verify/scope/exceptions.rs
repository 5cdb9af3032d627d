//! The declared exceptions, and what their names mean.

use super::names;
use crate::db::ident::Qualified;
use crate::verify::config::Isolation;
use crate::verify::model::{Exception, ExceptionKind};

pub(super) fn exceptions(isolation: &Isolation, today: &str) -> Vec<Exception> {
    isolation
        .exception
        .iter()
        .map(|exception| {
            let until = exception
                .until
                .and_then(|until| until.date)
                .map(|date| date.to_string());
            Exception {
                object: exception.object.clone(),
                kind: exception.kind,
                filter: exception.filter.clone(),
                role: exception.role.clone(),
                reason: exception.reason.clone(),
                expired: until.as_deref().is_some_and(|until| until < today),
                until,
            }
        })
        .collect()
}

/// Exceptions in force that speak of a relation.
pub(crate) fn excepted(
    exceptions: &[Exception],
    label: &Qualified,
    kinds: &[ExceptionKind],
) -> bool {
    exceptions.iter().any(|exception| {
        !exception.expired
            && kinds.contains(&exception.kind)
            && names_object(&exception.object, label)
    })
}

/// A name as written in an exception means this object.
pub(crate) fn names_object(text: &str, name: &Qualified) -> bool {
    match names::parts(text).as_deref() {
        Some([own]) => {
            own == name.name.as_str() && (name.schema.as_str() == "public" || !text.contains('.'))
                || text == name.name.as_str()
        }
        Some([schema, own]) => schema == name.schema.as_str() && own == name.name.as_str(),
        _ => text == name.human(),
    }
}
