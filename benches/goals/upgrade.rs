//! Migrations side by side with psql on the same SQL and with stock
//! sea-orm-migration: medians of interleaved runs of whole processes, as ratios.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::common::{TestDb, TestServer, kinedb};
use crate::migrations::Migrations;
use migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use sea_orm::ConnectionTrait as _;

/// What is declared of the schema of Kine.
const ISOLATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/isolation.toml");

/// Set for a process of this program that is to play stock sea-orm-migration: the folder
/// of migrations.
pub(crate) const STOCK: &str = "KINEDB_BENCH_STOCK";

pub(crate) fn measure_all() {
    let rounds = std::env::var("KINEDB_BENCH_ROUNDS").map_or(15, |rounds| rounds.parse().unwrap());
    println!("medians of {rounds} interleaved runs, whole processes");
    nothing_to_do(rounds);
    apply("10 migrations x 8 statements", &of_eight(10), rounds, 0.95);
    apply("200 small migrations", &small(200), rounds.min(7), 1.0);
    apply(
        "200 migrations of one small table with key, check, index and comment",
        &tables(200),
        rounds.min(5),
        1.0,
    );
    gate(rounds.min(7));
}

/// One contender: makes its command for a database.
type Contender<'a> = (&'a str, Box<dyn Fn(&TestDb) -> Command + 'a>);

/// Runs all contenders in turn, each on a database of its own.
fn race(rounds: usize, contenders: &[Contender<'_>], fresh: &dyn Fn() -> TestDb) -> Vec<Duration> {
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (index, (name, command)) in contenders.iter().enumerate() {
            let db = fresh();
            let mut command = command(&db);
            let began = Instant::now();
            let output = command.output().unwrap();
            times[index].push(began.elapsed());
            assert!(
                output.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    times.into_iter().map(median).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn report(title: &str, contenders: &[Contender<'_>], times: &[Duration], goal: f64) {
    println!("\n{title} (goal: kinedb <= {goal} x {})", contenders[0].0);
    for ((name, _), time) in contenders.iter().zip(times) {
        let ratio = time.as_secs_f64() / times[0].as_secs_f64();
        println!(
            "  {name:<34} {:>9.2} ms  {ratio:>5.2} x",
            time.as_secs_f64() * 1e3
        );
    }
    let ratio = times[1].as_secs_f64() / times[0].as_secs_f64();
    println!("  {}", if ratio <= goal { "met" } else { "MISSED" });
}

fn nothing_to_do(rounds: usize) {
    let folder = small(10);
    let db = TestDb::new("nothing_to_do");
    upgrade(&db, folder.path(), "off").output().unwrap();
    let contenders: Vec<Contender<'_>> = vec![
        (
            "psql -Xqc 'select 1'",
            Box::new(|db| psql(db, &["-Xqc", "select 1"])),
        ),
        (
            "kinedb upgrade",
            Box::new(|db| upgrade(db, folder.path(), "full")),
        ),
        (
            "stock sea-orm-migration",
            Box::new(|db| stock_run(db, folder.path())),
        ),
    ];
    // All look at the same database, which none of them changes.
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds * 3 {
        for (index, (_, command)) in contenders.iter().enumerate() {
            let mut command = command(&db);
            let began = Instant::now();
            assert!(command.output().unwrap().status.success());
            times[index].push(began.elapsed());
        }
    }
    let times: Vec<Duration> = times.into_iter().map(median).collect();
    report("nothing to do", &contenders, &times, 0.8);
}

fn apply(title: &str, folder: &Migrations, rounds: usize, goal: f64) {
    let all = folder.path().join("all");
    std::fs::create_dir(&all).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".up.sql"))
        .collect();
    names.sort();
    let text: String = names
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let whole = all.join("all.sql");
    std::fs::write(&whole, text).unwrap();
    let script = all.join("script.sql");
    let empty = TestDb::new("for_the_script");
    let printed = kinedb(["upgrade", "--sql", "--migrations", folder.arg()])
        .on(&empty)
        .run()
        .ok();
    std::fs::write(&script, printed.stdout).unwrap();
    let (whole, script) = (whole.to_str().unwrap(), script.to_str().unwrap());
    let contenders: Vec<Contender<'_>> = vec![
        (
            "psql -1 -f all.sql",
            Box::new(move |db| psql(db, &["-Xq", "-1", "-v", "ON_ERROR_STOP=1", "-f", whole])),
        ),
        (
            "kinedb upgrade --gate off",
            Box::new(|db| upgrade(db, folder.path(), "off")),
        ),
        (
            "psql -f of kinedb upgrade --sql",
            Box::new(move |db| psql(db, &["-Xq", "-v", "ON_ERROR_STOP=1", "-f", script])),
        ),
        (
            "stock sea-orm-migration",
            Box::new(|db| stock_run(db, folder.path())),
        ),
    ];
    let times = race(rounds, &contenders, &|| TestDb::new("apply"));
    report(title, &contenders, &times, goal);
}

/// The gate's price on ten migrations of eight statements: plain tables that no role
/// of the application reaches, tables of tenants as `kinedb revision --table` writes
/// them, and both beside tables that no migration touches.
fn gate(rounds: usize) {
    println!("\nthe gate on 10 migrations x 8 statements (goal: <= 150 ms more)");
    let (plain, tenants) = (of_eight(10), of_tenants(10));
    let (plain, tenants) = ((&plain, &[][..]), (&tenants, &["--config", ISOLATION][..]));
    let empty = || TestDb::new("gate_plain");
    let kine = || TestDb::migrated("gate_kine");
    let beside = |db: TestDb, tenants: bool| {
        db.sql(&untouched(200, tenants));
        db
    };
    gate_price("plain tables", plain, rounds, &empty);
    gate_price("plain tables beside 200 others", plain, rounds, &|| {
        beside(empty(), false)
    });
    gate_price("tables of tenants", tenants, rounds, &kine);
    gate_price(
        "tables of tenants beside 200 others",
        tenants,
        rounds,
        &|| beside(kine(), true),
    );
}

fn gate_price(
    title: &str,
    (folder, config): (&Migrations, &[&str]),
    rounds: usize,
    fresh: &dyn Fn() -> TestDb,
) {
    let contender = |gate: &'static str| -> Contender<'_> {
        let command = move |db: &TestDb| {
            let mut command = upgrade(db, folder.path(), gate);
            command.args(config);
            command
        };
        (gate, Box::new(command))
    };
    let times = race(
        rounds,
        &[contender("off"), contender("catalog"), contender("full")],
        fresh,
    );
    let more = |time: Duration| time.saturating_sub(times[0]).as_secs_f64() * 1e3;
    let met = if more(times[2]) <= 150.0 {
        "met"
    } else {
        "MISSED"
    };
    println!(
        "  {title:<36} off {:>7.1} ms; catalog {:>6.1} ms more; full {:>6.1} ms more: {met}",
        times[0].as_secs_f64() * 1e3,
        more(times[1]),
        more(times[2])
    );
}

/// All migrations of Kine, and then tables as `kinedb revision --table` writes them.
fn of_tenants(count: usize) -> Migrations {
    let folder = Migrations::of(&[]);
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/migration/src");
    for file in std::fs::read_dir(sources).unwrap().flatten() {
        if file.path().extension().is_some_and(|kind| kind == "sql") {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    for number in 0..count {
        let up = tenant_table(&format!("gate_{number:03}"));
        folder.write(&format!("m2999{number:04}_000000_table"), &up, "");
    }
    folder
}

fn tenant_table(name: &str) -> String {
    let class = include_str!("../../policies/tenant_scoped/_class.sql");
    let own = include_str!("../../src/scaffold/templates/table.policy.sql");
    let up = include_str!("../../src/scaffold/templates/table.up.sql");
    let text = up
        .replace("{policies}", &format!("{class}\n{own}"))
        .replace("{table}", name);
    format!("{text}\nreset role;\n")
}

/// Tables that no migration touches.
fn untouched(count: usize, tenants: bool) -> String {
    (0..count)
        .map(|number| {
            if tenants {
                tenant_table(&format!("old_{number:03}"))
                    .replace("set local role", "set role")
            } else {
                format!(
                    "create table old_{number:03} (id int primary key, name text not null, size int);\n\
                     create view v_old_{number:03} as select id, name from old_{number:03};\n"
                )
            }
        })
        .collect()
}

fn of_eight(count: usize) -> Migrations {
    let folder = Migrations::of(&[]);
    for number in 0..count {
        let t = format!("t{number:03}");
        let mut up = format!(
            "create table {t} (id int primary key, name text not null, size int);\n\
             create index {t}_by_name on {t} (name);\ncomment on table {t} is 'a table';\n\
             alter table {t} add column made_at timestamptz not null default now();\n\
             alter table {t} add constraint {t}_size check (size > 0);\n"
        );
        let _ = writeln!(
            up,
            "create view v_{t} as select id, name from {t};\ninsert into {t} (id, name, size) select i, 'n' || i, i from generate_series(1, 100) i;\ncreate unique index {t}_by_size on {t} (size, name);"
        );
        folder.write(&format!("m{number:04}_table"), &up, "");
    }
    folder
}

fn small(count: usize) -> Migrations {
    let folder = Migrations::of(&[]);
    for number in 0..count {
        folder.write(
            &format!("m{number:04}_small"),
            &format!("create table s{number:03} (id int);\n"),
            "",
        );
    }
    folder
}

/// What a small migration of a real project is: one statement alone measures commits.
fn tables(count: usize) -> Migrations {
    let folder = Migrations::of(&[]);
    for number in 0..count {
        let t = format!("s{number:03}");
        folder.write(
            &format!("m{number:04}_table"),
            &format!(
                "create table {t} (id bigint generated always as identity primary key, \
                 name text not null, size int check (size > 0));\n\
                 create index {t}_by_name on {t} (name);\ncomment on table {t} is 'a table';\n"
            ),
            "",
        );
    }
    folder
}

fn upgrade(db: &TestDb, folder: &Path, gate: &str) -> Command {
    let folder = folder.to_str().unwrap();
    kinedb(["upgrade", "-q", "--gate", gate, "--migrations", folder])
        .on(db)
        .command()
}

/// The server package's own psql, not a wrapper.
fn psql(db: &TestDb, args: &[&str]) -> Command {
    TestServer::shared().dev().psql(db.name(), args).unwrap()
}

fn stock_run(db: &TestDb, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(STOCK, folder).env("DATABASE_URL", db.url());
    command
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// What a program with sea-orm-migration does: connect, and go up.
pub(crate) fn stock(folder: PathBuf) {
    let _ = FOLDER.set(folder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = std::env::var("DATABASE_URL").unwrap();
        let connection = sea_orm::Database::connect(url).await.unwrap();
        Stock::up(&connection, None).await.unwrap();
    });
}

struct Stock;

#[async_trait::async_trait]
impl MigratorTrait for Stock {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(FOLDER.get().unwrap())
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(".up.sql"))
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|file| {
                let name = file
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .replace(".up.sql", "");
                let up = std::fs::read_to_string(&file).unwrap();
                Box::new(StockMigration { name, up }) as Box<dyn MigrationTrait>
            })
            .collect()
    }
}

struct StockMigration {
    name: String,
    up: String,
}

impl MigrationName for StockMigration {
    fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for StockMigration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared(&self.up)
            .await
            .map(drop)
    }
}
