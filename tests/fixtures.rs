//! Development clinics: loaded once, alike everywhere, or refused as a whole.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::TestDb;
use kinedb::fault::{Code, Fault};
use kinedb::seed::{self, Environment, Source};

const SMALL: &str = include_str!("../fixtures/dev/riviere-sante.toml");
const COUNTS: &str = "select string_agg(format('%s %s', t, (xpath('/row/c/text()', query_to_xml( \
    format('select count(*) as c from %s', t), true, true, '')))[1]), ', ' order by t) \
    from unnest(array['audit_events', 'note_versions', 'notes', 'patients', 'tenants', 'users']) t";

async fn load(db: &TestDb, sources: &[Source]) -> Result<seed::SeedSummary, (Code, String)> {
    let mut conn = db.connect().await;
    seed::load(&mut conn, sources, &mut |_| {})
        .await
        .map_err(|error| (Fault::of(&error).unwrap().code(), format!("{error:#}")))
}

fn small(change: impl Fn(&str) -> String) -> Vec<Source> {
    vec![Source {
        path: "small.toml".to_owned(),
        text: change(SMALL),
    }]
}

#[tokio::test]
async fn a_second_load_changes_nothing_and_keeps_what_was_edited() {
    let db = TestDb::migrated("a_second_load");
    let mut events = Vec::new();
    let mut conn = db.connect().await;
    let first = seed::load_dev(&mut conn, &mut |event| events.push(event))
        .await
        .unwrap();
    assert!(!events.is_empty());
    assert_eq!((first.clinics.len(), first.present()), (3, 0));

    db.sql("update patients set phone = 'mine' where mrn = 'DEV-0002'");
    let before = db.value(COUNTS);
    let second = seed::load_dev(&mut conn, &mut |_| {}).await.unwrap();
    assert_eq!((second.loaded(), second.present()), (0, first.loaded()));
    assert_eq!(db.value(COUNTS), before);
    assert_eq!(
        db.value("select count(*) from patients where phone = 'mine'"),
        "3"
    );
    // The context was the load's alone.
    let left: String = sqlx::query_scalar(
        "select current_setting('app.tenant_id', true) || (current_user = session_user)::text",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(left, "true");
}

#[tokio::test]
async fn every_word_of_the_schema_occurs() {
    let db = TestDb::migrated("every_word_occurs");
    let mut conn = db.connect().await;
    seed::load_dev(&mut conn, &mut |_| {}).await.unwrap();
    let missing = db.query_rows(
        "select format('%s.%s %s', r.table_name, r.column_name, r.word) from ( \
           select c.conrelid::regclass::text as table_name, a.attname::text as column_name, m.words[1] as word \
             from pg_constraint c \
             join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1] \
             cross join lateral regexp_matches(pg_get_constraintdef(c.oid), '''([^'']+)''::text', 'g') as m (words) \
            where c.contype = 'c' and c.connamespace = 'public'::regnamespace and cardinality(c.conkey) = 1 \
              and pg_get_constraintdef(c.oid) like '%= ANY%' \
              and c.conrelid::regclass::text not like 'audit\\_%' and c.conrelid::regclass::text not like 'kinedb%' \
         ) r \
         where (xpath('/row/c/text()', query_to_xml(format('select count(*) as c from public.%I where %I = %L', \
           r.table_name, r.column_name, r.word), true, true, '')))[1]::text = '0'",
    );
    assert_eq!(missing, Vec::<Vec<Option<String>>>::new());
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_is_named_and_nothing_of_its_clinic_stays() {
    let db = TestDb::migrated("a_row_that_breaks");
    // What is written instead, where the message points, and what it says of it.
    let cases = [
        (
            ("role = \"admin\"", "role = \"wizard\""),
            "key = \"u-gagnon\"",
            "row `u-gagnon` of `users` breaks `users_role_check`: \
             new row for relation \"users\" violates check constraint \"users_role_check\"",
        ),
        (
            ("mrn = \"DEV-0002\"", "mrn = \"DEV-0001\""),
            "key = \"p-lavoie\"",
            "row `p-lavoie` of `patients` breaks `patients_mrn_key`: \
             duplicate key value violates unique constraint \"patients_mrn_key\"",
        ),
        (
            ("author = \"u-bouchard\"", "author = \"u-nobody\""),
            "u-nobody",
            "there is no `u-nobody` in `users`",
        ),
        (
            ("[[patients]]", "[[patients"),
            "[[patients\n",
            "unclosed array table, expected `]]`",
        ),
    ];
    for ((from, to), place, expected) in cases {
        let sources = small(|text| text.replacen(from, to, 1));
        let before = sources[0].text.split(place).next().unwrap();
        let line = before.matches('\n').count() + 1;
        let (code, message) = load(&db, &sources).await.unwrap_err();
        assert_eq!(code, Code::BadFixture);
        let message = message.trim_start_matches("loading the clinic `riviere-sante`: ");
        assert_eq!(message, format!("`small.toml` line {line}: {expected}"));
        assert_eq!(db.value("select count(*) from tenants"), "0");
    }
}

#[tokio::test]
async fn a_table_of_its_own_needs_no_code() {
    let db = TestDb::migrated("a_table_of_its_own");
    db.sql(
        "set role kine_owner; \
         create table rooms (tenant_id uuid not null, id uuid not null, name text not null, beds int default 2, \
           \"Odd Name\" uuid, primary key (tenant_id, id), foreign key (tenant_id, \"Odd Name\") references users); \
         grant select, insert on rooms to kine_app",
    );
    let mut sources = small(str::to_owned);
    sources.push(Source {
        path: "tables/rooms.toml".to_owned(),
        text: "[[riviere-sante]]\nkey = \"r-1\"\nname = \"One\"\n\"Odd Name\" = { users = \"u-bouchard\" }\n\n\
               [[riviere-sante]]\nkey = \"r-2\"\nname = \"Two\"\nbeds = 1\n"
            .to_owned(),
    });
    assert_eq!(load(&db, &sources).await.unwrap().loaded(), 39);
    assert_eq!(load(&db, &sources).await.unwrap().loaded(), 0);
    assert_eq!(
        db.value(
            "select string_agg(concat_ws(' ', r.name, r.beds, u.full_name), '; ' order by r.name) \
             from rooms r left join users u on u.id = r.\"Odd Name\""
        ),
        "One 2 Dre Hélène Bouchard; Two 1"
    );
}

#[tokio::test]
async fn a_database_without_the_schema_asks_for_an_upgrade() {
    let db = TestDb::new("without_the_schema");
    let refused = load(&db, &small(str::to_owned)).await.unwrap_err();
    assert_eq!(refused.0, Code::Pending, "{}", refused.1);
}

#[tokio::test]
async fn the_marker_is_set_once() {
    let db = TestDb::migrated("the_marker");
    let mut conn = db.connect().await;
    assert_eq!(seed::environment(&mut conn).await.unwrap(), None);
    seed::mark_development(&mut conn).await.unwrap();
    seed::mark_development(&mut conn).await.unwrap();
    assert_eq!(
        seed::environment(&mut conn).await.unwrap(),
        Some(Environment::Development)
    );
    db.sql("update kinedb_environment set environment = 'production'");
    let refused = seed::mark_development(&mut conn).await.unwrap_err();
    assert_eq!(Fault::of(&refused).unwrap().code(), Code::NotDevelopment);
}
