//! JUnit XML: each cell of the access matrix is a test, and so is each finding
//! that is not about a cell.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::Facts;
use super::people::name;
use crate::verify::finding::{Access, Action, Finding, Severity};
use crate::verify::{Cells, Report};

pub(super) fn render(report: &Report, facts: &Facts) -> anyhow::Result<String> {
    let mut matrix = TestSuite::new("access matrix");
    for line in &report.matrix {
        for (action, access) in [
            (Action::Select, line.select),
            (Action::Insert, line.insert),
            (Action::Update, line.update),
            (Action::Delete, line.delete),
        ] {
            let mut case = TestCase::new(
                format!("{} {} as {}", name(action), line.object, line.role),
                state(report, line, action, access),
            );
            case.set_classname(line.object.clone());
            matrix.add_test_case(case);
        }
    }
    let mut findings = TestSuite::new("findings");
    for finding in &report.findings {
        let mut case = TestCase::new(
            format!("{} {}", finding.id, finding.object),
            weight(finding),
        );
        case.set_classname(finding.object.clone());
        if finding.severity != Severity::Error {
            case.set_system_out(format!("{}\nfix: {}", finding.detail, finding.fix));
        }
        findings.add_test_case(case);
    }
    let mut junit = Junit::new(format!("kinedb verify-rls: {}", facts.target));
    junit.add_test_suite(matrix);
    junit.add_test_suite(findings);
    Ok(junit.to_string()?)
}

fn state(report: &Report, line: &Cells, action: Action, access: Access) -> TestCaseStatus {
    let told = |finding: &Finding| {
        finding.severity == Severity::Error
            && finding.object == line.object
            && finding.role.as_ref().is_none_or(|role| *role == line.role)
            && finding.action.is_none_or(|own| own == action)
    };
    match access {
        Access::Leak | Access::Unproven
            if report.known > 0 && !report.findings.iter().any(told) =>
        {
            let mut known = TestCaseStatus::skipped();
            known.set_message(format!("{}, known to the baseline", super::access(access)));
            known
        }
        Access::Leak | Access::Unproven => {
            let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failed.set_message(super::access(access));
            failed
        }
        Access::Denied | Access::Isolated | Access::Excepted => TestCaseStatus::success(),
    }
}

fn weight(finding: &Finding) -> TestCaseStatus {
    if finding.severity != Severity::Error {
        return TestCaseStatus::success();
    }
    let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
    failed.set_message(finding.title.clone());
    failed.set_type(finding.id.clone());
    let reproduce = finding
        .reproduce
        .as_deref()
        .map_or_else(String::new, |sql| format!("\nreproduce:\n{sql}"));
    failed.set_description(format!(
        "{}\nfix: {}{reproduce}",
        finding.detail, finding.fix
    ));
    failed
}
