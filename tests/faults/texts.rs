//! What a file may hold that no author means: refused before anything is sent, or
//! taken for what it says.

use super::*;

fn refused(test: &str, sql: &str) -> String {
    let db = TestDb::new(test);
    let folder = Migrations::of(&[("m1", sql, "select 1;\n")]);
    let run = upgrade(&db, &folder, &[]).run().exits(2);
    assert_eq!(
        db.value("select count(*) from pg_class where relnamespace = 'public'::regnamespace"),
        "0",
        "{sql}"
    );
    run.stderr
}

#[test]
fn what_only_psql_understands_is_refused_before_it_hangs() {
    let told = refused(
        "texts_copy",
        "create table a (id int);\ncopy a from stdin;\n1\n\\.\n",
    );
    assert!(told.contains("m1.up.sql:2:1: COPY has no client"), "{told}");
    assert!(told.contains("Hint: write the rows as `insert`"), "{told}");
    let told = refused(
        "texts_copy",
        "-- kinedb: no-transaction\ncopy a to stdout;\n",
    );
    assert!(told.contains("m1.up.sql:2:1: COPY has no client"), "{told}");
    let told = refused("texts_meta", "create table a (id int);\n\\d a\n");
    assert!(
        told.contains("m1.up.sql:2:1: `\\d` is a command of psql"),
        "{told}"
    );
}

#[test]
fn a_transaction_of_its_own_is_refused_outside_one_too() {
    let told = refused(
        "texts_begin",
        "-- kinedb: no-transaction\nbegin;\ncreate table a (id int);\nrollback;\n",
    );
    assert!(
        told.contains("m1.up.sql:2:1: a migration may not begin"),
        "{told}"
    );
    assert!(
        told.contains("each statement of this migration is committed"),
        "{told}"
    );
    let told = refused(
        "texts_begin",
        "-- kinedb: no-transaction\ncreate index concurrently on a (id);\n",
    );
    assert!(told.contains("needs a name"), "{told}");
    let told = refused("texts_begin", "select 'a\0b';\n");
    assert!(
        told.contains("m1.up.sql:1:10: PostgreSQL takes no NUL byte"),
        "{told}"
    );
}

#[test]
fn a_mark_of_byte_order_and_line_ends_of_another_system_do_not_count() {
    let db = TestDb::new("texts_bom");
    let plain = "create table a (id int);\n-- and\ncreate table b (id int);\n";
    let folder = Migrations::of(&[("m1", plain, "drop table a, b;\n")]);
    let odd = format!("\u{feff}{}", plain.trim_end().replace('\n', "\r\n"));
    folder.write("m1", &odd, "drop table a, b;\n");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1");
    // The same text without them is the same migration.
    folder.write("m1", plain, "drop table a, b;\n");
    upgrade(&db, &folder, &[]).run().ok();
}

#[test]
fn what_cannot_run_in_a_transaction_is_told_where_it_can() {
    let db = TestDb::new("texts_outside");
    let folder = Migrations::of(&[("m1", "create table a (id int);\nvacuum a;\n", "")]);
    let run = upgrade(&db, &folder, &[]).run().exits(13);
    assert!(
        run.stderr.contains("-- kinedb: no-transaction"),
        "{}",
        run.stderr
    );
    folder.write(
        "m1",
        "-- kinedb: no-transaction\nvacuum;\nreindex schema public;\ncluster;\n",
        "",
    );
    upgrade(&db, &folder, &[]).run().ok();
}

#[test]
fn limits_of_the_login_do_not_end_what_runs_outside() {
    let db = TestDb::new("texts_limits");
    let folder = Migrations::of(&[
        (
            "m1",
            "create table a (id int);\ninsert into a select generate_series(1, 200000);\n",
            "",
        ),
        (
            "m2",
            "-- kinedb: no-transaction\ncreate index concurrently a_id on a (id);\nvacuum a;\n",
            "",
        ),
    ]);
    db.sql(&format!(
        "alter database {0} set statement_timeout = '20ms'; alter database {0} set idle_session_timeout = '50ms'",
        db.name()
    ));
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1 m2");
    // A limit that somebody sets in the file is not somebody who cancels.
    folder.write(
        "m3",
        "set local statement_timeout = '20ms';\nselect pg_sleep(5);\n",
        "",
    );
    let run = upgrade(&db, &folder, &[]).run().exits(6);
    assert!(
        run.stderr
            .contains("the `statement_timeout` that the migration sets"),
        "{}",
        run.stderr
    );
    // What only reads is ended by it, and that is no bug of ours.
    db.sql(&format!(
        "alter database {} set statement_timeout = '1ms'",
        db.name()
    ));
    let run = kinedb(["show", "--catalogue"]).on(&db).run().exits(6);
    assert!(
        run.stderr.contains("`show statement_timeout`"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_full_disk_under_the_result_or_the_log_is_said() {
    let db = TestDb::new("texts_full");
    let folder = Migrations::of(&[("m1", "create table a (id int);\n", "")]);
    let run = upgrade(&db, &folder, &["--log-file", "/dev/full"])
        .run()
        .ok();
    let said = run
        .stderr
        .matches("the log file lacks what follows")
        .count();
    assert_eq!(said, 1, "{}", run.stderr);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = kinedb(["status"]).on(&db).command();
    let ended = command.stdout(full).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{told}");
    assert!(
        told.contains("cannot write the result to standard output"),
        "{told}"
    );
}

#[test]
fn a_server_without_a_free_connection_is_waited_for() {
    let db = TestDb::new("texts_connections");
    let folder = Migrations::of(&[("m1", "create table a (id int);\n", "")]);
    let login = format!("{}_login", db.name());
    db.sql(&format!(
        "create role {login} login connection limit 1; grant create on schema public to {login}"
    ));
    let holder = tools::Session::of(&db, &login);
    let full = || {
        let args = ["upgrade", "--gate", "off", "--migrations", folder.arg()];
        kinedb(args).on_as(&db, &login)
    };
    let run = full().run().exits(7);
    assert!(
        run.stderr.contains("has no connection left"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--wait 30s"), "{}", run.stderr);
    let freed = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(holder);
    });
    // It comes in, and finds that the login may not look for a pooler.
    let run = full().env("KINEDB_WAIT", "30s").run().exits(7);
    freed.join().unwrap();
    let hint = format!("`alter role \"{login}\" connection limit 2`");
    assert!(run.stderr.contains(&hint), "{}", run.stderr);
    db.sql(&format!("alter role {login} connection limit 2"));
    full().run().ok();
    db.sql(&format!("drop owned by {login}; drop role {login}"));
}
