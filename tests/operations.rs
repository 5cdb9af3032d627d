//! What `docs/operations.md` tells people to type is what kinedb understands.

// Helpers are not test functions, where this is allowed.
#![allow(clippy::expect_used)]

use clap::Parser as _;
use kinedb::cli::Cli;
use kinedb::fault::Code;

const PAGE: &str = include_str!("../docs/operations.md");

/// Every command line of the page: in code spans, in scripts, in a container's `command`.
fn command_lines() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in PAGE.lines() {
        let spans = line.split('`').skip(1).step_by(2);
        let scripts = line
            .trim()
            .trim_start_matches("- ")
            .trim_start_matches("run: ");
        for text in spans
            .chain([scripts])
            .filter(|text| text.starts_with("kinedb "))
        {
            found.push(words(text));
        }
        if let Some(list) = line.trim().strip_prefix("command: ") {
            found.push(serde_json::from_str(list).expect("a list"));
        }
    }
    found
}

/// Split as a shell does, as far as double quotes go.
fn words(text: &str) -> Vec<String> {
    text.split('"')
        .enumerate()
        .flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn every_command_line_is_understood() {
    let lines = command_lines();
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        if let Err(refusal) = Cli::try_parse_from(&line) {
            panic!("{line:?}: {refusal}");
        }
    }
}

#[test]
fn every_exit_code_of_a_run_is_on_the_page() {
    let codes: Vec<u8> = Code::ALL.iter().map(|code| code.exit().code()).collect();
    for code in [4, 5, 6, 7, 8, 9, 12, 13, 130, 143] {
        assert!(
            codes.contains(&code) && PAGE.contains(&code.to_string()),
            "{code}"
        );
    }
}

#[test]
fn the_events_of_the_log_are_on_the_page() {
    let teller = include_str!("../src/commands/migrating.rs");
    for event in [
        "lock-wait",
        "migration",
        "statement",
        "retry",
        "transaction-wait",
        "connection-lost",
    ] {
        assert!(
            teller.contains(&format!("\"{event}\"")) && PAGE.contains(&format!("`{event}`")),
            "{event}"
        );
    }
}
