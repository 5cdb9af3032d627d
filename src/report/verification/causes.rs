//! Findings of one cause, told once: the same was seen of each. One helper that many
//! policies call, or one grant that many tables have, is one thing to mend. Forms for
//! machines keep a finding for each object.

use std::collections::HashMap;

use super::people::name;
use crate::verify::finding::{Action, Finding, Severity, Verdict};

/// Places that are named before the rest is only counted.
const NAMED: usize = 12;

/// Findings that differ only in where the same was seen.
#[derive(Debug, Clone)]
pub(super) struct Cause<'a> {
    /// The first of them, which stands for all.
    pub(super) first: &'a Finding,
    /// Every one.
    pub(super) all: Vec<&'a Finding>,
    /// Policies that details name, with their tables where those are told.
    places: Vec<String>,
}

/// What findings of one cause have in common.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    severity: Severity,
    verdict: Verdict,
    id: &'a str,
    title: &'a str,
    detail: String,
}

/// The causes of these findings, in their order.
pub(super) fn causes(findings: &[Finding]) -> Vec<Cause<'_>> {
    let mut list: Vec<Cause<'_>> = Vec::new();
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    for finding in findings {
        let (detail, policies) = without_places(finding);
        let key = Key {
            severity: finding.severity,
            verdict: finding.verdict,
            id: &finding.id,
            title: &finding.title,
            detail,
        };
        let place = *places.entry(key).or_insert_with(|| {
            list.push(Cause {
                first: finding,
                all: Vec::new(),
                places: Vec::new(),
            });
            list.len() - 1
        });
        if let Some(cause) = list.get_mut(place) {
            cause.all.push(finding);
            for policy in policies {
                if !cause.places.contains(&policy) {
                    cause.places.push(policy);
                }
            }
        }
    }
    list
}

/// How many causes findings of this weight have.
pub(super) fn count(findings: &[Finding], severity: Severity) -> usize {
    let all = causes(findings);
    all.iter()
        .filter(|cause| cause.first.severity == severity)
        .count()
}

/// A detail without the names of the role, of the object and of policies, and the policies.
fn without_places(finding: &Finding) -> (String, Vec<String>) {
    let mut text = finding.detail.clone();
    let names = [finding.role.as_deref(), Some(finding.object.as_str())];
    for name in names.into_iter().flatten() {
        text = text.replace(&format!("`{name}`"), "``");
    }
    let mut left = String::new();
    let mut policies = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("policy `") {
        left.push_str(before);
        left.push_str("policy ");
        let (name, mut after) = after.split_once('`').unwrap_or((after, ""));
        let mut on = finding.object.as_str();
        if let Some((table, further)) = after
            .strip_prefix(" on `")
            .and_then(|further| further.split_once('`'))
        {
            if !table.is_empty() {
                on = table;
            }
            after = further;
        }
        policies.push(format!("`{name}` on {on}"));
        rest = after;
    }
    left.push_str(rest);
    (left, policies)
}

impl Cause<'_> {
    /// The objects, each once.
    pub(super) fn objects(&self) -> Vec<&str> {
        once(self.all.iter().map(|finding| finding.object.as_str()))
    }

    /// The roles, each once.
    pub(super) fn roles(&self) -> Vec<&str> {
        once(
            self.all
                .iter()
                .filter_map(|finding| finding.role.as_deref()),
        )
    }

    /// The actions, each once.
    pub(super) fn actions(&self) -> Vec<&'static str> {
        let mut all: Vec<Action> = self.all.iter().filter_map(|one| one.action).collect();
        all.sort_unstable();
        once(all.into_iter().map(name))
    }

    /// What was seen, and where else.
    pub(super) fn seen(&self) -> String {
        let mut text = self.first.detail.clone();
        let own = without_places(self.first).1;
        let others: Vec<&str> = self
            .places
            .iter()
            .filter(|place| !own.contains(place))
            .map(String::as_str)
            .collect();
        if !others.is_empty() {
            let more = others.len().saturating_sub(NAMED);
            text.push_str("\nlikewise ");
            text.push_str(&others[..others.len() - more].join(", "));
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
        }
        text
    }

    /// What mends all of it: one REVOKE of all its tables, else a line for each.
    pub(super) fn fix(&self) -> String {
        let mut revokes: Vec<(String, String, Vec<&str>)> = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        for finding in &self.all {
            let parted = finding
                .fix
                .split_once(&format!(" on {} from ", finding.object))
                .filter(|(before, after)| {
                    before.starts_with("revoke ") && !after.contains(" from ")
                });
            let Some((before, after)) = parted else {
                if !lines.contains(&finding.fix) {
                    lines.push(finding.fix.clone());
                }
                continue;
            };
            let known = revokes
                .iter_mut()
                .find(|(own, whom, _)| own == before && whom == after);
            match known {
                Some((.., objects)) if objects.contains(&finding.object.as_str()) => {}
                Some((.., objects)) => objects.push(&finding.object),
                None => {
                    let objects = vec![finding.object.as_str()];
                    revokes.push((before.to_owned(), after.to_owned(), objects));
                }
            }
        }
        let one = |(before, after, objects): &(String, String, Vec<&str>)| {
            format!("{before} on {} from {after}", objects.join(", "))
        };
        let all: Vec<String> = revokes.iter().map(one).chain(lines).collect();
        all.join("\n")
    }
}

fn once<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(object: &str, role: &str, action: Action, detail: &str) -> Finding {
        Finding {
            id: "policy-claim".to_owned(),
            severity: Severity::Error,
            verdict: Verdict::Leak,
            object: object.to_owned(),
            role: Some(role.to_owned()),
            action: Some(action),
            title: "a policy opens all tenants".to_owned(),
            detail: detail.to_owned(),
            fix: "Give a role of its own.".to_owned(),
            reproduce: None,
        }
    }

    #[test]
    fn one_helper_in_many_policies_is_one_cause() {
        let of = |policy: &str| format!("policy `{policy}`: `may('x')` is decided alone");
        let mut other = finding("d", "app", Action::Select, &of("z"));
        other.detail = other.detail.replace("'x'", "'y'");
        let findings = [
            finding("b", "app", Action::Update, &of("p b")),
            finding("a", "app", Action::Select, &of("p a")),
            finding("a", "web", Action::Select, &of("p a")),
            other,
        ];
        let all = causes(&findings);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].objects(), ["b", "a"]);
        assert_eq!(all[0].roles(), ["app", "web"]);
        assert_eq!(all[0].actions(), ["select", "update"]);
        assert_eq!(
            all[0].seen(),
            "policy `p b`: `may('x')` is decided alone\nlikewise `p a` on a"
        );
        assert_eq!(all[0].fix(), "Give a role of its own.");
        assert_eq!(count(&findings, Severity::Error), 2);
    }

    #[test]
    fn what_was_seen_otherwise_is_another_cause() {
        let one = finding("a", "app", Action::Select, "1 row of `a`");
        let mut two = finding("b", "app", Action::Delete, "1 row of `b`");
        let mut three = two.clone();
        three.detail = "2 rows of `b`".to_owned();
        let mut four = two.clone();
        four.severity = Severity::Warning;
        let findings = [one.clone(), two.clone(), three.clone(), four.clone()];
        assert_eq!(causes(&findings).len(), 3);
        two.id = "other".to_owned();
        assert_eq!(causes(&[one, two, three, four]).len(), 4);
    }

    #[test]
    fn a_policy_on_a_table_and_rights_of_several_roles() {
        let mut call = finding("f()", "app", Action::Other, "policy `p` on `t` calls it");
        let mut again = call.clone();
        again.detail = "policy `q` on `u` calls it".to_owned();
        call.role = None;
        again.role = None;
        let findings = [call, again];
        let all = causes(&findings);
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].seen(),
            "policy `p` on `t` calls it\nlikewise `q` on u"
        );
        let truncate = |object: &str, role: &str| {
            let mut one = finding(object, role, Action::Truncate, &format!("`{role}` has it"));
            one.fix = format!("revoke truncate on {object} from {role};");
            one
        };
        let findings = [
            truncate("a", "web"),
            truncate("a", "app"),
            truncate("b", "web"),
        ];
        let all = causes(&findings);
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].fix(),
            "revoke truncate on a, b from web;\nrevoke truncate on a from app;"
        );
    }
}
