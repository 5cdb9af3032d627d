//! Annotations of GitHub Actions: one workflow command per finding.

use super::{scope, standing};
use crate::verify::Report;
use crate::verify::finding::Severity;

pub(super) fn render(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .map(|finding| {
            let command = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "notice",
            };
            let title = property(&format!(
                "{}: {} [{}]",
                finding.object, finding.title, finding.id
            ));
            format!(
                "::{command} title={title}::{}",
                data(&format!("{}\nfix: {}", finding.detail, finding.fix))
            )
        })
        .collect();
    lines.push(format!("{}: {}", standing(report), scope(report)));
    lines.join("\n")
}

/// A message may hold anything but line ends and percent signs.
pub(crate) fn data(text: &str) -> String {
    text.trim()
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property may not hold separators either.
pub(crate) fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_start_another_command() {
        assert_eq!(data("a\n::error::b"), "a%0A::error::b");
        assert_eq!(property("a,b:c%"), "a%2Cb%3Ac%25");
    }
}
