//! What `docs/operations.md` tells people to type is what kinedb understands.

// Helpers are not test functions, where this is allowed.
#![allow(clippy::expect_used)]

use clap::Parser as _;
use kinedb::cli::Cli;
use kinedb::fault::{Code, Retry};

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
fn what_the_pages_of_errors_tell_to_type_is_understood() {
    let mut commands = 0;
    for code in Code::ALL {
        let page = code.page();
        assert!(
            !page.causes.is_empty() && !page.steps.is_empty(),
            "{code:?}"
        );
        for (command, _) in page
            .steps
            .iter()
            .filter(|(text, _)| text.starts_with("kinedb "))
        {
            commands += 1;
            // A request for help is answered by what clap calls an error.
            if let Err(refusal) = Cli::try_parse_from(words(command))
                && refusal.use_stderr()
            {
                panic!("{}: {command}: {refusal}", code.name());
            }
        }
        // What a pipeline is told to try again by its exit code, the page says too.
        let again = matches!(code.exit().code(), 5 | 6 | 129 | 130 | 143);
        assert!(!again || page.retry == Retry::Later, "{code:?}");
    }
    assert!(commands > 40, "{commands}");
}

#[test]
fn every_exit_code_of_a_run_is_on_the_page() {
    let codes: Vec<u8> = Code::ALL.iter().map(|code| code.exit().code()).collect();
    for code in [4, 5, 6, 7, 8, 9, 12, 13, 129, 130, 143] {
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
