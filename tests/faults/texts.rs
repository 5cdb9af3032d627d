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
    let told = refused("texts_dump", "\\restrict abc\ncreate table a (id int);\n");
    assert!(
        told.contains("Hint: pg_dump writes such lines for psql: `sed -i '/^\\\\/d' FILE`"),
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
fn an_isolation_level_of_its_own_is_told_as_what_it_is() {
    let db = TestDb::new("texts_level");
    let folder = Migrations::of(&[(
        "m1",
        "set transaction isolation level serializable;\ncreate table a (id int);\n",
        "",
    )]);
    let run = upgrade(&db, &folder, &[]).run().exits(13);
    assert!(
        run.stderr.contains("remove the statement"),
        "{}",
        run.stderr
    );
    folder.write("m1", "create table a (id int);\n", "");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1");
}

#[test]
fn what_a_migration_says_of_transactions_reaches_no_other() {
    let odd = "set default_transaction_read_only = on;\n\
               set session characteristics as transaction isolation level serializable;\n";
    let up = |number: u8| {
        format!(
            "{odd}create table t{number} (level text default current_setting('transaction_isolation'));\n"
        )
    };
    let folder = Migrations::of(&[
        ("m1_one", &up(1), ""),
        ("m2_two", &up(2), ""),
        ("m3_three", &up(3), ""),
        ("m4_fills", "insert into t3 default values;\n", ""),
    ]);
    for (test, gate, level) in [
        ("modes_of_transactions", "off", "read committed"),
        ("modes_of_proven_transactions", "full", "read committed"),
        ("modes_of_the_login", "off", "repeatable read"),
    ] {
        let db = TestDb::new(test);
        db.sql(&format!(
            "alter database {} set default_transaction_isolation = '{level}'",
            db.name()
        ));
        let args = ["upgrade", "--gate", gate, "--migrations", folder.arg()];
        kinedb(args).on(&db).run().ok();
        assert_eq!(applied(&db), "m1_one m2_two m3_three m4_fills");
        assert_eq!(db.value("select level from t3"), level);
    }
}

#[test]
fn a_migration_that_cannot_be_recorded_is_told_as_such() {
    for (test, sql, why) in [
        (
            "the_history_dropped",
            "drop table kinedb_history;\n",
            "relation \"public.kinedb_history\" does not exist (SQLSTATE 42P01)",
        ),
        (
            "made_read_only_at_its_end",
            "create table more (id int);\nset transaction read only;\n",
            "cannot execute INSERT in a read-only transaction (SQLSTATE 25006)",
        ),
    ] {
        let db = TestDb::new(test);
        let folder = Migrations::of(&[
            ("m1_rooms", "create table rooms (id int);\n", ""),
            ("m2_odd", sql, ""),
        ]);
        for gate in ["off", "full"] {
            let args = ["upgrade", "--gate", gate, "--migrations", folder.arg()];
            let run = kinedb(args).on(&db).run().exits(13);
            assert!(
                run.stderr.contains(&format!(
                    "error: what `m2_odd` did cannot be recorded: {why}\n  rolled back; nothing of `m2_odd` is applied\nHint: "
                )),
                "{}",
                run.stderr
            );
            assert_eq!(applied(&db), "m1_rooms");
        }
    }
    let db = TestDb::new("no_room_for_the_record");
    let folder = Migrations::of(&[
        ("m1_rooms", "create table rooms (id int);\n", ""),
        (
            "m2_full",
            "create function no_room() returns trigger language plpgsql as $$ begin raise exception 'no space' using errcode = '53100'; end $$;\n\
             create trigger no_room before insert on kinedb_history for each row execute function no_room();\n",
            "",
        ),
    ]);
    let run = upgrade(&db, &folder, &[]).run().exits(13);
    assert!(
        run.stderr.contains("(SQLSTATE 53100)") && run.stderr.contains("disk is full: free space"),
        "{}",
        run.stderr
    );
}

#[test]
fn tables_in_the_place_of_history_that_are_none_are_told() {
    let folder = Migrations::of(&[("m1", "create table a (id int);\n", "")]);
    for (test, sql, exit, told) in [
        (
            "another_tools_table",
            "create table seaql_migrations (id int)",
            8,
            "is another tool's table: column \"version\" does not exist (SQLSTATE 42703)\nHint: look at both",
        ),
        (
            "no_schema_for_history",
            "drop schema public cascade",
            7,
            "schema \"public\" does not exist (SQLSTATE 3F000)\nHint: they stand in schema public: `create schema public`",
        ),
    ] {
        let db = TestDb::new(test);
        db.sql(sql);
        let run = upgrade(&db, &folder, &[]).run().exits(exit);
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
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

#[test]
fn what_was_written_for_another_tool_is_not_run_as_if_for_this_one() {
    let told = refused(
        "texts_divided",
        "-- +goose Up\ncreate table a (id int);\n-- +goose Down\ndrop table a;\n",
    );
    assert!(
        told.contains("m1.up.sql:3:1: the line `-- +goose Down` divides a file"),
        "{told}"
    );
    assert!(told.contains("`.down.sql`"), "{told}");
    let told = refused(
        "texts_divided",
        "select 'create table a (id int)' \\gexec\n",
    );
    assert!(
        told.contains("m1.up.sql:1:34: `\\gexec` is a command of psql"),
        "{told}"
    );
    // Rows are no SQL, so a quote among them says nothing.
    let told = refused(
        "texts_divided",
        "create table a (n text);\ncopy a from stdin;\nit's\n\\.\n",
    );
    assert!(told.contains("m1.up.sql:2:1: COPY has no client"), "{told}");
    let db = TestDb::new("texts_placeholder");
    // Made before: of a type of the same transaction, newer servers let new values be used.
    db.sql("create type kind as enum ('a'); create table a (k kind)");
    let folder = Migrations::of(&[]);
    for (sql, hint) in [
        ("create schema authorization :owner;\n", "write the value"),
        (
            "create schema authorization :\"owner\";\n",
            "write the value",
        ),
        (
            "create table ${schema}.a (id int);\n",
            "another tool puts a value",
        ),
        (
            "create table {{ schema }}.a (id int);\n",
            "another tool puts a value",
        ),
        (
            "alter type kind add value 'b';\ninsert into a values ('b');\n",
            "a migration of its own, before this one",
        ),
        ("do $$ begin commit; end $$;\n", "may not COMMIT"),
    ] {
        folder.write("m1", sql, "");
        let run = upgrade(&db, &folder, &[]).run().exits(13);
        assert!(run.stderr.contains(hint), "{sql}{}", run.stderr);
    }
    folder.write(
        "m1",
        "-- kinedb: no-transaction\ndo $$ begin commit; end $$;\n",
        "",
    );
    let run = upgrade(&db, &folder, &[]).run().exits(9);
    assert!(run.stderr.contains("run it by hand"), "{}", run.stderr);
}

#[test]
fn a_folder_that_holds_no_pair_is_not_nothing_to_do() {
    let db = TestDb::new("texts_folder");
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let args = ["upgrade", "--migrations", folder.path().to_str().unwrap()];
        kinedb(args).on(&db).run()
    };
    // A project that has just begun.
    run().ok();
    std::fs::write(folder.path().join("0001_init.sql"), "select 1;\n").unwrap();
    let told = run().exits(2).stderr;
    assert!(
        told.contains("its `0001_init.sql` would never run")
            && told.contains("`mv 0001_init.sql 0001_init.up.sql`"),
        "{told}"
    );
    std::fs::remove_file(folder.path().join("0001_init.sql")).unwrap();
    let nested = folder.path().join("20260101_init");
    std::fs::create_dir(&nested).unwrap();
    std::fs::write(nested.join("migration.sql"), "select 1;\n").unwrap();
    let told = run().exits(2).stderr;
    assert!(
        told.contains("`mv 20260101_init/migration.sql 20260101_init_migration.up.sql`"),
        "{told}"
    );
    std::fs::write(folder.path().join("m1.up.sql"), "select 1;\n").unwrap();
    run().ok();
    std::fs::write(folder.path().join("m2.down.sql"), "select 1;\n").unwrap();
    let told = run().exits(2).stderr;
    assert!(told.contains("a way down without its way up"), "{told}");
}

#[test]
fn a_password_in_a_migration_that_fails_is_not_shown() {
    let db = TestDb::new("texts_password");
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("log");
    for sql in [
        "create user \"a\" with password 'c4n4ry' nonsense;\n",
        "create extension no_such_extension; create user a password 'c4n4ry';\n",
        "do $$ begin execute 'create user a password ''c4n4ry'' nonsense'; end $$;\n",
        "select dblink_connect('host=x password=c4n4ry');\n",
        "-- kinedb: no-transaction\ncreate user a password 'c4n4ry' nonsense;\n",
    ] {
        let folder = Migrations::of(&[("m1", sql, "")]);
        let args = ["--log-file", log.to_str().unwrap()];
        let run = upgrade(&db, &folder, &args).run();
        assert_ne!(run.status, 0, "{sql}");
        assert!(!run.stderr.contains("c4n4ry"), "{sql}{}", run.stderr);
        assert!(run.stderr.contains("  in: "), "{sql}{}", run.stderr);
        db.sql("drop table if exists kinedb_history, seaql_migrations");
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("\"event\":\"error\"") && !log.contains("c4n4ry"),
        "{log}"
    );
}

/// Shapes that files of other projects have, each of which once broke some splitter.
#[test]
fn files_as_other_projects_have_them_are_applied() {
    let db = TestDb::new("texts_shapes");
    let files = [
        (
            "0001_generated",
            "DO $$ BEGIN\n CREATE TYPE \"role\" AS ENUM('admin', 'user');\nEXCEPTION\n WHEN duplicate_object THEN null;\nEND $$;\n--> statement-breakpoint\nCREATE TABLE IF NOT EXISTS \"Users\" (\"id\" serial PRIMARY KEY NOT NULL, \"role\" \"role\" DEFAULT 'user');\n",
        ),
        (
            "0002_as_dumped",
            "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET idle_in_transaction_session_timeout = 0;\nSET client_encoding = 'UTF8';\nSELECT pg_catalog.set_config('search_path', '', false);\nSET check_function_bodies = false;\nSET row_security = off;\nSET default_tablespace = '';\nCREATE TABLE public.dumped (id integer NOT NULL);\nALTER TABLE public.dumped OWNER TO postgres;\nCREATE SEQUENCE public.dumped_id_seq;\nSELECT pg_catalog.setval('public.dumped_id_seq', 7, true);\n",
        ),
        (
            "0003_quotes",
            "/* outer /* inner ; */ still; */\ncreate function f() returns text language sql as $_$ select '$$;' || $q$ ; $q$ $_$;\ncreate function g() returns trigger language plpgsql as $fn$\ndeclare x text := E'it\\'s; ok';\nbegin\n  begin\n    insert into dumped values (1);\n  exception when unique_violation then\n    raise notice 'twice; %', sqlerrm;\n  when others then null;\n  end;\n  return new;\nend;\n$fn$;\ncreate function h() returns text as '\nbegin\n  return ''a;b'';\nend;' language 'plpgsql';\n",
        ),
        (
            "0004_bodies",
            "create table log (id int);\ncreate rule also as on insert to dumped do also (insert into log values (new.id); insert into log values (new.id + 1));\ncreate procedure p(a int) language sql\nbegin atomic\n  select case when a > 0 then 1 else 2 end;\n  select 2;\nend;\ninsert into dumped values (1);\n",
        ),
        (
            "0005_session",
            "create schema app;\nset search_path to app, public;\ncreate temp table scratch as select 1 as id;\ncreate table placed (id int);\nlock table placed in access exclusive mode;\nset session_replication_role = replica;\nnotify reload, 'schema';\n",
        ),
        ("0006_after", "create table here (id int);\n"),
    ];
    let folder = Migrations::of(&[]);
    for (name, up) in files {
        folder.write(name, up, "");
    }
    upgrade(&db, &folder, &[]).run().ok();
    let made = "select string_agg(relname, ' ' order by relname) from pg_class where relkind = 'r' and relnamespace in ('public'::regnamespace, 'app'::regnamespace) and relname !~ '^(kinedb|seaql)'";
    assert_eq!(db.value(made), "Users dumped here log placed");
    assert_eq!(
        db.value("select relnamespace::regnamespace from pg_class where relname = 'here'"),
        "public"
    );
    assert_eq!(
        db.value("select string_agg(id::text, ' ' order by id) from log"),
        "1 2"
    );
    assert_eq!(db.value("select f()"), "$$; ; ");
}
