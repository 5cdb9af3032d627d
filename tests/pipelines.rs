//! The examples for pipelines, tried as who copies them would: parsed as their readers
//! parse them, and their command lines typed into a shell.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{TestDb, kinedb};
use kinedb::fault::{Code, Retry};
use serde_json::Value;

const OPERATIONS: &str = include_str!("../docs/operations.md");
const README: &str = include_str!("../README.md");

/// The blocks of a page in this language, below this heading.
fn blocks(page: &str, heading: &str, language: &str) -> Vec<String> {
    let (_, below) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section `{heading}`"));
    let section = below.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let found = section.split(&fence).skip(1);
    found
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

fn yaml(heading: &str) -> Value {
    let blocks = blocks(OPERATIONS, heading, "yaml");
    let [text] = &blocks[..] else {
        panic!("{heading}: {blocks:?}");
    };
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{heading}: {error}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list: {value}"))
}

/// Types a line in a folder, with `kinedb` on the path and nothing of this environment.
fn typed(line: &str, folder: &Path, environment: &[(&str, &str)]) -> Output {
    let kinedb = kinedb([""; 0]).command();
    let mut shell = Command::new("sh");
    shell.args(["-ec", line]).current_dir(folder);
    for (name, value) in kinedb.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let programs = Path::new(kinedb.get_program()).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", programs.display()));
    shell.envs(environment.iter().copied());
    shell.output().unwrap()
}

/// The same, and it ends with this code.
fn ends(line: &str, folder: &Path, environment: &[(&str, &str)], code: i32) -> Output {
    let output = typed(line, folder, environment);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}\n{told}");
    output
}

/// Exits that are worth another try, by the pages of errors.
fn worth_another_try(code: u64) -> bool {
    Code::ALL
        .iter()
        .any(|one| u64::from(one.exit().code()) == code && one.page().retry != Retry::No)
}

#[test]
fn the_job_of_kubernetes() {
    let job = yaml("Kubernetes");
    assert_eq!(
        (text(&job["apiVersion"]), text(&job["kind"])),
        ("batch/v1", "Job")
    );
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(text(&pod["restartPolicy"]), "Never");
    // A signal ends a run within five seconds, and a killed one is the next try's business.
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > 5);
    let container = &pod["containers"][0];
    // What no further try changes ends the job; of the rest it may take as many as it says.
    let policy = &job["spec"]["podFailurePolicy"]["rules"][0];
    assert_eq!(text(&policy["action"]), "FailJob");
    let exits = &policy["onExitCodes"];
    assert_eq!(exits["containerName"], container["name"]);
    assert_eq!(text(&exits["operator"]), "NotIn");
    for code in list(&exits["values"]) {
        assert!(worth_another_try(code.as_u64().unwrap()), "{code}");
    }
    assert!(job["spec"]["backoffLimit"].as_u64().unwrap() > 0);
    // The file that the variable names lies in what is mounted.
    let variable = &container["env"][0];
    let mount = &container["volumeMounts"][0];
    let file = text(&variable["value"]);
    assert!(file.starts_with(&format!("{}/", text(&mount["mountPath"]))));
    assert_eq!(mount["name"], pod["volumes"][0]["name"]);
    // The container does its work.
    let db = TestDb::new("the_job_of_kubernetes");
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("url");
    std::fs::write(&url, format!("{}\n", db.url())).unwrap();
    let words: Vec<&str> = list(&container["command"]).iter().map(text).collect();
    let environment = [(text(&variable["name"]), url.to_str().unwrap())];
    let done = ends(&words.join(" "), folder.path(), &environment, 0);
    let log = String::from_utf8(done.stderr).unwrap();
    let mut applied = 0;
    for line in log.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        applied += usize::from(line["event"] == "migration");
    }
    assert_eq!(
        applied.to_string(),
        db.value("select count(*) from seaql_migrations")
    );
    // A second replica finds nothing to do.
    ends(&words.join(" "), folder.path(), &environment, 0);
}

#[test]
fn the_workflow_of_github() {
    let workflow = yaml("GitHub Actions");
    let job = &workflow["jobs"]["migrate"];
    assert_eq!(
        text(&job["env"]["DATABASE_URL"]),
        "${{ secrets.DATABASE_URL }}"
    );
    assert!(job["concurrency"].is_string() && job["runs-on"].is_string());
    let db = TestDb::new("the_workflow_of_github");
    let folder = tempfile::tempdir().unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let url = db.url();
    let environment = [("DATABASE_URL", url.as_str()), ("GITHUB_SHA", commit)];
    let mut typed = 0;
    for step in list(&job["steps"]) {
        if let Some(line) = step["run"].as_str() {
            ends(line, folder.path(), &environment, 0);
            typed += 1;
        } else if text(&step["uses"]).contains("upload-artifact") {
            assert!(folder.path().join(text(&step["with"]["path"])).exists());
            assert_eq!(text(&step["if"]), "always()");
        }
    }
    assert_eq!(typed, 2);
    assert_eq!(
        db.value("select string_agg(distinct git_commit, ' ') from kinedb_history"),
        commit
    );
}

#[test]
fn the_job_of_gitlab() {
    let job = &yaml("GitLab CI")["migrate"];
    let db = TestDb::new("the_job_of_gitlab");
    let folder = tempfile::tempdir().unwrap();
    let url = db.url();
    let environment = [("DATABASE_URL", url.as_str()), ("CI_COMMIT_SHA", "abc123")];
    for line in list(&job["script"]) {
        ends(text(line), folder.path(), &environment, 0);
    }
    for code in list(&job["retry"]["exit_codes"]) {
        assert!(worth_another_try(code.as_u64().unwrap()), "{code}");
    }
    // GitLab takes two at most.
    assert!(job["retry"]["max"].as_u64().unwrap() <= 2);
    assert_eq!(text(&job["artifacts"]["when"]), "always");
    for path in list(&job["artifacts"]["paths"]) {
        assert!(folder.path().join(text(path)).exists(), "{path}");
    }
    assert_eq!(
        db.value("select string_agg(distinct git_commit, ' ') from kinedb_history"),
        "abc123"
    );
}

#[test]
fn the_pipeline_of_the_readme() {
    let blocks = blocks(README, "In a pipeline", "sh");
    let [script] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    let db = TestDb::new("the_pipeline_of_the_readme");
    let folder = tempfile::tempdir().unwrap();
    let url = db.url();
    let environment = [("DATABASE_URL", url.as_str())];
    let lines: Vec<&str> = script
        .lines()
        .filter(|line| line.starts_with("kinedb"))
        .collect();
    let [check, upgrade, verify] = &lines[..] else {
        panic!("{lines:?}");
    };
    ends(check, folder.path(), &environment, 3);
    ends(upgrade, folder.path(), &environment, 0);
    ends(check, folder.path(), &environment, 0);
    let proof = ends(verify, folder.path(), &environment, 0);
    let report: Value = serde_json::from_slice(&proof.stdout).unwrap();
    assert_eq!(report["verdict"], "isolated");
}

/// The steps that the page lists for each deployment.
#[test]
fn the_steps_of_a_deployment() {
    let db = TestDb::new("the_steps_of_a_deployment");
    let folder = tempfile::tempdir().unwrap();
    let url = db.url();
    let environment = [("DATABASE_URL", url.as_str())];
    let (_, below) = OPERATIONS.split_once("\n## Each deployment\n").unwrap();
    let section = below.split("\n## ").next().unwrap();
    let mut lines = Vec::new();
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let command = row.split('|').nth(2).unwrap_or_default();
        lines.extend(command.split('`').skip(1).step_by(2));
    }
    let lines: Vec<&str> = lines
        .into_iter()
        .filter(|line| line.starts_with("kinedb "))
        .collect();
    assert!(lines.len() >= 6, "{lines:?}");
    for line in lines {
        ends(line, folder.path(), &environment, 0);
    }
}
