//! `kinedb verify-rls`, and the same proof as the gate of `upgrade`.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write as _;

use common::{Run, TestDb, TestServer, block_on, kinedb};
use kinedb::fault::Code;
use kinedb::verify::finding::{Severity, Verdict};
use kinedb::verify::{self, Config, Options, Report};
use sqlx::{AssertSqlSafe, Executor as _};

const OURS: &str = include_str!("../policies/isolation.toml");

fn seeded(test: &str) -> TestDb {
    let db = TestDb::new(test);
    kinedb(["seed", "--dev", "--quiet"]).on(&db).run().ok();
    db
}

fn verify_rls(db: &TestDb, args: &[&str]) -> Run {
    kinedb(["verify-rls"].iter().chain(args)).on(db).run()
}

/// The report of a database that was changed in a transaction of which nothing stays.
fn after(db: &TestDb, change: &str) -> Report {
    let change = AssertSqlSafe(format!("begin; {change}"));
    let config = Config::parse(OURS).unwrap();
    let options = Options {
        in_transaction: true,
        hold_needs: true,
        ..Options::default()
    };
    block_on(async {
        let mut conn = db.connect().await;
        conn.execute(sqlx::raw_sql(change)).await.unwrap();
        verify::verify(&mut conn, &config, &options)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"))
    })
}

fn names(report: &Report, object: &str) -> bool {
    report
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error && finding.object.contains(object))
}

#[test]
fn the_seeded_schema_is_isolated_and_every_cell_is_proven() {
    let db = seeded("the_seeded_schema_is_isolated");
    let run = verify_rls(&db, &["--format", "json"]).ok();
    let report = run.json();
    assert_eq!(report["verdict"], "isolated");
    assert_eq!(report["checked"]["tenants"], 3);
    assert_eq!(report["revision"], kinedb_head(&db));
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["severity"] != "error")
    );
    let matrix = report["matrix"].as_array().unwrap();
    let patients = matrix
        .iter()
        .find(|line| line["object"] == "patients" && line["role"] == "kine_app")
        .unwrap();
    for (action, state) in [
        ("select", "isolated"),
        ("insert", "isolated"),
        ("update", "isolated"),
        ("delete", "denied"),
    ] {
        assert_eq!(patients[action], state, "{action}");
    }
    for line in matrix {
        for action in ["select", "insert", "update", "delete"] {
            assert!(
                line[action] == "isolated" || line[action] == "denied",
                "{line}"
            );
        }
    }
    let people = verify_rls(&db, &[]).ok();
    assert!(
        people
            .stdout
            .lines()
            .last()
            .unwrap()
            .starts_with("isolated: "),
        "{}",
        people.stdout
    );
}

fn kinedb_head(db: &TestDb) -> String {
    db.value("select max(version) from seaql_migrations")
}

#[test]
fn an_empty_schema_is_proven_on_rows_made_for_it() {
    let db = TestDb::migrated("an_empty_schema_is_proven");
    let report = verify_rls(&db, &["--format", "json"]).ok().json();
    assert_eq!(report["verdict"], "isolated");
    assert_eq!(
        db.value("select count(*) from tenants"),
        "0",
        "something was left behind"
    );
}

/// As in continuous integration, where nothing is seeded.
#[test]
fn listed_tenants_are_made_where_none_is_there_and_nowhere_else() {
    let db = TestDb::migrated("listed_tenants_are_made");
    let ids = ["c1", "c2"].map(|end| format!("3b1f8a50-0000-4000-8000-0000000000{end}"));
    let asked = OURS.lines().find(|line| line.starts_with("tenants = "));
    let listed = OURS.replace(asked.unwrap(), &format!("tenants = {ids:?}"));
    let report = with_config(&db, &listed, &["--format", "json"]).ok().json();
    assert_eq!(report["verdict"], "isolated");
    assert_eq!(report["checked"]["tenants"], 2);
    assert_eq!(db.value("select count(*) from tenants"), "0");
    db.sql(
        "insert into tenants (tenant_id, slug, name) values (gen_random_uuid(), 'north', 'North')",
    );
    let report = with_config(&db, &listed, &["--format", "json"]).exits(4);
    assert_eq!(report.json()["verdict"], "unproven");
}

#[test]
fn each_policy_that_goes_is_seen() {
    let db = seeded("each_policy_that_goes_is_seen");
    let policies = db.query_rows(
        "select polrelid::regclass, polname from pg_policy p join pg_class c on c.oid = p.polrelid \
         where polname = 'tenant_isolation' and not c.relispartition \
           and c.relname not in ('audit_keys', 'audit_seals') order by 1", // no role of the product reaches these
    );
    assert_eq!(policies.len(), 8);
    for policy in policies {
        let (table, name) = (policy[0].clone().unwrap(), policy[1].clone().unwrap());
        let report = after(&db, &format!("drop policy {name} on {table}"));
        assert!(
            report.verdict != Verdict::Isolated && names(&report, &table),
            "{table}: {:?}",
            report.findings
        );
    }
}

#[test]
fn each_switch_of_row_security_is_seen() {
    let db = seeded("each_switch_of_row_security_is_seen");
    let tables = db.query_rows(
        "select c.oid::regclass from pg_class c where relrowsecurity and not relispartition and relnamespace = 'public'::regnamespace \
           and c.relname not in ('audit_keys', 'audit_seals')",
    );
    assert_eq!(tables.len(), 8);
    for row in tables {
        let table = row[0].clone().unwrap();
        for change in ["disable row level security", "no force row level security"] {
            let report = after(&db, &format!("alter table {table} {change}"));
            assert!(
                report.verdict != Verdict::Isolated && names(&report, &table),
                "{table} {change}: {:?}",
                report.findings
            );
        }
        let report = after(&db, &format!("create policy open on {table} using (true)"));
        assert!(
            report.verdict == Verdict::Leak && names(&report, &table),
            "{table} using (true): {:?}",
            report.findings
        );
    }
}

#[test]
fn each_view_that_stops_being_an_invoker_is_seen() {
    let db = seeded("each_view_that_stops_being_an_invoker");
    // The owner of the views is bound by FORCE; a superuser as owner is not.
    let views = db.query_rows("select oid::regclass from pg_class where relkind = 'v' and relname like 'api!_%' escape '!' and relnamespace = 'public'::regnamespace");
    assert_eq!(views.len(), 8);
    for row in views {
        let view = row[0].clone().unwrap();
        let report = after(&db, &format!("alter view {view} reset (security_invoker)"));
        let seen = report
            .findings
            .iter()
            .any(|finding| finding.object.contains(&view) && finding.severity >= Severity::Warning);
        assert!(seen, "{view}: {:?}", report.findings);
        let report = after(
            &db,
            &format!(
                "alter view {view} reset (security_invoker); alter view {view} owner to postgres"
            ),
        );
        assert!(
            report.verdict != Verdict::Isolated && names(&report, &view),
            "{view}: {:?}",
            report.findings
        );
    }
}

#[test]
fn a_change_by_psql_turns_it_red_and_back() {
    let db = seeded("a_change_by_psql_turns_it_red");
    db.sql("create policy open on patients using (true)");
    let run = verify_rls(&db, &[]).exits(4);
    assert!(
        run.stdout.contains("patients") && run.stderr.contains("Hint: kinedb verify-rls --explain"),
        "{}",
        run.stderr
    );
    let report = verify_rls(&db, &["--format", "json"]).exits(4).json();
    assert_eq!(report["verdict"], "leak");
    let leak = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["verdict"] == "leak")
        .unwrap();
    assert!(
        leak["reproduce"]
            .as_str()
            .is_some_and(|sql| sql.contains("rollback")),
        "{leak}"
    );
    db.sql("drop policy open on patients");
    verify_rls(&db, &[]).ok();
}

#[test]
fn no_contents_of_rows_are_reported() {
    let db = seeded("no_contents_of_rows_are_reported");
    db.sql("create policy open on patients using (true); create policy open on notes using (true)");
    let names =
        db.query_rows("select distinct family_name from patients where length(family_name) > 4");
    for format in [
        "table", "json", "html", "markdown", "junit", "sarif", "github",
    ] {
        let run = verify_rls(&db, &["--format", format]).exits(4);
        for name in &names {
            let name = name[0].clone().unwrap();
            assert!(
                !run.stdout.contains(&name) && !run.stderr.contains(&name),
                "{format} shows {name}"
            );
        }
    }
}

#[test]
fn every_form_of_the_report_is_what_it_says() {
    let db = seeded("every_form_of_the_report");
    db.sql("create policy \"<b>&open\" on patients using (true)");
    let sarif = verify_rls(&db, &["--format", "sarif"]).exits(4).json();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(!sarif["runs"][0]["results"].as_array().unwrap().is_empty());
    let junit = verify_rls(&db, &["--format", "junit"]).exits(4).stdout;
    assert!(
        junit.starts_with("<?xml") && junit.contains("<failure") && !junit.contains("<b>"),
        "{junit}"
    );
    let html = verify_rls(&db, &["--format", "html"]).exits(4).stdout;
    assert!(
        html.starts_with("<!DOCTYPE html>")
            && html.contains("Access matrix")
            && !html.contains("<b>&open")
    );
    for loaded in ["<script", "<link", "src=", "href=", "@import", "url("] {
        assert!(
            !html.contains(loaded),
            "the page must stand alone: {loaded}"
        );
    }
    let markdown = verify_rls(&db, &["--format", "markdown"]).exits(4).stdout;
    assert!(markdown.starts_with("## Isolation: leak"));
    let github = verify_rls(&db, &["--format", "github"]).exits(4).stdout;
    assert!(
        github
            .lines()
            .filter(|line| line.starts_with("::error "))
            .count()
            > 0
    );
    let run = kinedb(["status", "--format", "html"])
        .on(&db)
        .run()
        .exits(2);
    assert!(
        run.stderr.contains("formats `table` and `json` only"),
        "{}",
        run.stderr
    );
}

fn with_config(db: &TestDb, text: &str, args: &[&str]) -> Run {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    kinedb(["verify-rls", "--config", &path].iter().chain(args))
        .on(db)
        .run()
}

const CONTEXT: &str = "[isolation]\ntenant_columns = [\"tenant_id\"]\ntenants = \"select tenant_id::text from tenants\"\n\
    context = [\"select set_config('app.tenant_id', :tenant, true)\"]\n[[isolation.role]]\n";

#[test]
fn no_role_that_row_security_does_not_bind_can_make_it_green() {
    let server = TestServer::own();
    let db = server.migrated_database("no_role_that_row_security_does_not_bind");
    db.sql("create role idle_super superuser; create role free bypassrls; grant kine_app to free");
    for role in ["postgres", "idle_super", "free"] {
        let run = with_config(
            &db,
            &format!("{CONTEXT}name = \"{role}\"\n"),
            &["--format", "json"],
        )
        .exits(4);
        let found = run.json()["findings"].to_string();
        assert!(found.contains(role), "{role}: {found}");
    }
    let run = with_config(
        &db,
        &format!("{CONTEXT}name = \"kine_owner\"\n"),
        &["--format", "json"],
    )
    .exits(4);
    assert!(
        run.json()["findings"].to_string().contains("kine_owner"),
        "{}",
        run.stdout
    );
}

#[test]
fn nothing_to_prove_is_not_proven() {
    let db = TestDb::new("nothing_to_prove");
    let report = verify_rls(&db, &["--format", "json"]).exits(4).json();
    assert_eq!(report["verdict"], "unproven");
    db.sql("create table t (id int)");
    assert_eq!(
        verify_rls(&db, &["--format", "json"]).exits(4).json()["verdict"],
        "unproven"
    );
}

#[test]
fn a_wrong_configuration_is_refused_in_one_sentence() {
    let db = TestDb::migrated("a_wrong_configuration");
    for (text, said) in [
        (
            format!("{CONTEXT}name = \"kine_ap\"\n"),
            "no role `kine_ap`",
        ),
        (
            "[isolation]\ntenant_column = \"x\"\n".to_owned(),
            "tenant_column",
        ),
        (
            format!(
                "{CONTEXT}name = \"kine_app\"\n[isolation.table.patient]\ntenant_column = \"tenant_id\"\n"
            ),
            "`patient`",
        ),
        (
            format!(
                "{}name = \"kine_app\"\n",
                CONTEXT.replace("from tenants", "from clinics")
            ),
            "clinics",
        ),
        ("[isolation\n".to_owned(), "line 1"),
    ] {
        let run = with_config(&db, &text, &[]).exits(2);
        assert!(
            run.stderr.contains(said) && run.stderr.contains("Hint:"),
            "{text}\n{}",
            run.stderr
        );
        assert_eq!(run.stdout, "");
    }
    let run = kinedb(["verify-rls", "--config", "nowhere.toml"])
        .on(&db)
        .run()
        .exits(2);
    assert!(run.stderr.contains("nowhere.toml"), "{}", run.stderr);
}

#[test]
fn checks_are_listed_and_explained() {
    let list = kinedb(["verify-rls", "--list", "--format", "json"])
        .run()
        .ok()
        .json();
    let list = list.as_array().unwrap();
    assert!(list.len() > 50);
    for entry in list {
        let id = entry["id"].as_str().unwrap();
        let explained = kinedb(["verify-rls", "--explain", id, "--format", "json"])
            .run()
            .ok()
            .json();
        for part in ["title", "why", "fix"] {
            assert!(
                explained[part]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{id} has no {part}"
            );
        }
    }
    let run = kinedb(["verify-rls", "--explain", "nothing-like-it"])
        .run()
        .exits(2);
    insta::assert_snapshot!(run.normal(), @r###"
    exit 2
    --- stderr
    error: there is no check `nothing-like-it`
    Hint: list them with `kinedb verify-rls --list`
    (usage, exit 2)
    "###);
}

#[test]
fn a_migration_that_opens_a_leak_is_rolled_back() {
    let db = seeded("a_migration_that_opens_a_leak");
    let head = kinedb_head(&db);
    let folder = tempfile::tempdir().unwrap();
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/src");
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/isolation.toml");
    let upgrade = |up: &str, args: &[&str]| {
        let name = folder.path().join("m20400101_000000_next");
        std::fs::write(name.with_extension("up.sql"), up).unwrap();
        std::fs::write(name.with_extension("down.sql"), "select 1").unwrap();
        kinedb(["upgrade", "--config", policies].iter().chain(args))
            .on(&db)
            .env("KINEDB_MIGRATIONS", folder.path())
            .run()
    };
    for leak in [
        "create policy open on patients using (true)",
        "drop policy tenant_isolation on notes; create policy read on notes for select using (true)",
        "alter table encounters disable row level security",
        "alter table users no force row level security; grant kine_owner to kine_app",
        "create table lab_results (tenant_id uuid not null, value text); grant select on lab_results to kine_app",
        "create function everyone() returns setof patients language sql security definer as 'select * from patients'; grant execute on function everyone() to kine_app",
        "create view all_notes as select * from notes; grant select on all_notes to kine_app",
    ] {
        let run = upgrade(leak, &[]).exits(4);
        assert!(
            run.stderr.contains("was rolled back"),
            "{leak}\n{}",
            run.stderr
        );
        assert_eq!(kinedb_head(&db), head, "{leak}");
    }
    assert_eq!(
        db.value("select count(*) from pg_policy where polname in ('open', 'read')"),
        "0"
    );
    // What was broken before is not blamed on the migration that comes next.
    db.sql("create policy open on appointments using (true)");
    upgrade(
        "comment on table patients is 'People'; create index on patients (tenant_id, family_name)",
        &[],
    )
    .ok();
    db.sql("drop policy open on appointments");
}

#[test]
fn a_self_test_asks_before_it_locks_what_is_in_use() {
    let db = TestDb::migrated("a_self_test_asks");
    let run = verify_rls(&db, &["--self-test"]).exits(Code::Refused.exit().code().into());
    assert!(
        run.stderr.contains("not marked for development") && run.stderr.contains("--accept-locks"),
        "{}",
        run.stderr
    );
    let run = verify_rls(&db, &["--self-test", "--read-only"]).exits(2);
    assert!(run.stderr.contains("--read-only"), "{}", run.stderr);
}

#[test]
fn a_look_at_the_catalogue_alone_is_never_green() {
    let db = TestDb::migrated("a_look_at_the_catalogue_alone");
    let run = verify_rls(&db, &["--catalog-only", "--format", "json"]).exits(4);
    assert_eq!(run.json()["verdict"], "unproven");
    assert!(run.stderr.contains("not proven"), "{}", run.stderr);
}
