//! Declared exceptions: what they lower, and what became of each.

use super::{Excepted, lower};
use crate::verify::explain;
use crate::verify::finding::{Action, Finding, Outcome, Severity, Verdict};
use crate::verify::model::{Exception, ExceptionKind, Scope};
use crate::verify::scope::names_object;

pub(super) fn exceptions(scope: &Scope, outcome: &mut Outcome) -> Vec<Excepted> {
    let mut used = vec![false; scope.exceptions.len()];
    for finding in &mut outcome.findings {
        let kinds = explain::explain(&finding.id)
            .map(|entry| entry.excepts)
            .unwrap_or_default();
        let fits = |exception: &Exception| {
            // What may be read by all may not be written by all.
            let read = exception.kind != ExceptionKind::GlobalRead
                || finding.verdict != Verdict::Leak
                || matches!(finding.action, None | Some(Action::Select));
            let kind = kinds.contains(&exception.kind) && read
                || exception.kind == ExceptionKind::Unproven
                    && finding.verdict == Verdict::Unproven;
            let whole = exception.filter.as_ref().is_none_or(|filter| {
                // Rows without a tenant that are only read are what such a filter speaks of.
                exception.kind == ExceptionKind::SharedRows
                    && finding.id == "policy-shared-rows"
                    && finding.severity != Severity::Error
                    && filter.to_lowercase().contains("is null")
            });
            kind && !exception.expired
                && whole
                && exception
                    .role
                    .as_ref()
                    .is_none_or(|role| finding.role.as_ref().is_none_or(|own| own == role))
                && speaks_of(scope, &exception.object, &finding.object)
        };
        if let Some(at) = scope.exceptions.iter().position(fits) {
            used[at] = true;
            if finding.severity != Severity::Note {
                lower(
                    finding,
                    &format!("excepted: {}", scope.exceptions[at].reason),
                );
            }
        }
    }
    let mut list = Vec::new();
    for (exception, used) in scope.exceptions.iter().zip(used) {
        let exists = used
            || scope
                .relations
                .iter()
                .any(|relation| names_object(&exception.object, &relation.name))
            || scope
                .functions
                .iter()
                .any(|function| speaks_of(scope, &exception.object, &function.label))
            || scope
                .roles
                .iter()
                .any(|role| role.name.as_str() == exception.object);
        let state = match (exception.expired, exists) {
            (true, _) => "expired",
            (false, true) => "in-force",
            (false, false) => "unmatched",
        };
        if state != "in-force"
            && let Some(entry) = explain::explain(&format!("exception-{state}"))
        {
            outcome.findings.push(Finding {
                id: entry.id.to_owned(),
                severity: entry.severity,
                verdict: Verdict::Isolated,
                object: exception.object.clone(),
                role: exception.role.clone(),
                action: None,
                title: entry.title,
                detail: match &exception.until {
                    Some(until) if exception.expired => {
                        format!("it held until {until}: {}", exception.reason)
                    }
                    _ => format!("its reason was: {}", exception.reason),
                },
                fix: entry.fix,
                reproduce: None,
            });
        }
        list.push(Excepted {
            object: exception.object.clone(),
            kind: exception.kind,
            filter: exception.filter.clone(),
            role: exception.role.clone(),
            reason: exception.reason.clone(),
            until: exception.until.clone(),
            state: state.to_owned(),
        });
    }
    list
}

/// A name as written in an exception means the object of a finding.
fn speaks_of(scope: &Scope, written: &str, object: &str) -> bool {
    let plain = |text: &str| {
        text.replace(' ', "")
            .trim_start_matches("public.")
            .to_owned()
    };
    plain(written) == plain(object)
        || scope
            .relations
            .iter()
            .any(|relation| relation.label == object && names_object(written, &relation.name))
}
