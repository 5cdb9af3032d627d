//! `kinedb completions`

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::kinedb;

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = kinedb(["completions", shell]).run().ok();
        for command in ["upgrade", "downgrade", "verify-rls", "revision", "seed"] {
            assert!(
                run.stdout.contains(command),
                "{shell} does not know {command}"
            );
        }
    }
}

#[test]
fn bash_accepts_its_script() {
    let script = kinedb(["completions", "bash"]).run().ok().stdout;
    let mut bash = std::process::Command::new("bash");
    let done = bash.args(["-n", "-c", &script]).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn an_unknown_shell_is_refused() {
    kinedb(["completions", "tcsh"]).run().exits(2);
}
