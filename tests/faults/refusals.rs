//! No connection: each cause is told by a sentence of its own, with what to type.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::{Run, TestDb, TestServer, kinedb};
use crate::tools::Session;

/// An address of this machine that no other server listens at.
fn free_address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id();
    let place = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("127.{}.{}.{place}", 64 + process / 250 % 60, process % 250)
}

const ACCESS: &str = "\
local all socketed peer
local all all trust
hostssl all ciphered 127.0.0.0/8 trust
host all refused 127.0.0.0/8 reject
host all keyed,keyless 127.0.0.0/8 scram-sha-256
host all hashed 127.0.0.0/8 md5
host all plain 127.0.0.0/8 password
host all postgres,ghost,locked,limited,foreign 127.0.0.0/8 trust
";

const ROLES: &str = "\
create role socketed login; create role ciphered login; create role refused login;
create role keyed login password 'c4n4ry'; create role keyless login;
set password_encryption = md5; create role hashed login password 'c4n4ry'; reset password_encryption;
create role plain login password 'c4n4ry'; create role locked;
create role limited login connection limit 1; create role \"For eign\" login";

/// A server that asks each user for something else, a database there, its address.
fn asking(database: &str) -> (TestServer, TestDb, String) {
    let here = free_address();
    let server = TestServer::own();
    let db = server.database(database);
    for statement in ROLES.split(';') {
        db.sql(statement);
    }
    let access = server.dev().folder().join("data/pg_hba.conf");
    std::fs::write(access, ACCESS.replace("foreign", "\"For eign\"")).unwrap();
    db.sql(&format!("alter system set listen_addresses = '{here}'"));
    server.dev().stop().unwrap();
    server.dev().start().unwrap();
    (server, db, here)
}

fn status(url: &str, environment: &[(&str, &str)]) -> Run {
    let mut run = kinedb(["status"])
        .env("DATABASE_URL", url)
        .env("HOME", "/nonexistent");
    for (name, value) in environment {
        run = run.env(name, value);
    }
    run.run()
}

/// What is told instead of a connection: code, sentence, hint.
fn told(url: &str, environment: &[(&str, &str)]) -> String {
    let run = status(url, environment).exits(7);
    assert!(!run.stderr.contains("c4n4ry"), "{}", run.stderr);
    let (_, told) = run.stderr.split_once("error: ").unwrap();
    told.to_owned()
}

#[track_caller]
fn tells(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "`{part}` is not told:\n{told}");
    }
}

#[test]
fn a_server_that_is_not_where_it_was_looked_for() {
    let db = TestDb::new("a_server_that_is_not_where");
    let folder = db.server().dev().socket_folder().to_owned();
    let at = |folder: &Path, port: u16| {
        let folder = folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{folder}:{port}/app")
    };
    tells(
        &told(&at(Path::new("/nonexistent"), 5432), &[]),
        &[
            "there is no folder `/nonexistent`",
            "`PGHOST=/var/run/postgresql`",
            "(unreachable, exit 7)",
        ],
    );
    tells(
        &told(&at(&folder, 5444), &[]),
        &[
            "no server listens at port 5444",
            "one does at port 5432",
            "`PGPORT=5432`",
        ],
    );
    let empty = tempfile::tempdir().unwrap();
    tells(
        &told(&at(empty.path(), 5432), &[]),
        &["it has no socket there", "`--wait 30s`", "`pg_isready -h "],
    );
    // Whoever made the socket was killed.
    let listener =
        std::os::unix::net::UnixListener::bind(empty.path().join(".s.PGSQL.5432")).unwrap();
    drop(listener);
    tells(
        &told(&at(empty.path(), 5432), &[]),
        &["does not run any more", "`--wait 30s`"],
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    tells(
        &told(&format!("postgres://postgres@127.0.0.1:{port}/app"), &[]),
        &[
            &format!("nothing listens at `127.0.0.1:{port}`"),
            &format!("`pg_isready -h 127.0.0.1 -p {port}`"),
            "(unreachable, exit 7)",
        ],
    );
    tells(
        &told("postgres://postgres@no-such-host.invalid/app", &[]),
        &[
            "host `no-such-host.invalid` cannot be found",
            "`getent hosts no-such-host.invalid`",
        ],
    );
}

#[test]
fn what_answers_and_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (place, client) in listener.incoming().flatten().enumerate() {
            let mut client = client;
            let _ = client.read(&mut [0; 64]);
            if place == 0 {
                let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        }
    });
    let url = format!("postgres://postgres@127.0.0.1:{port}/app");
    let hint = format!("`pg_isready -h 127.0.0.1 -p {port}`");
    tells(&told(&url, &[]), &["is no PostgreSQL server", &hint]);
    tells(&told(&url, &[]), &["closed the connection", &hint]);
}

#[test]
fn who_is_not_let_in() {
    let (_server, db, here) = asking("who_is_not_let_in");
    let as_user = |user: &str| format!("postgres://{user}@{here}/{}", db.name());
    tells(
        &told(&as_user("ghost"), &[]),
        &[
            "role \"ghost\" does not exist",
            "`create role ghost login`",
            "(authentication, exit 7)",
        ],
    );
    tells(
        &told(&as_user("locked"), &[]),
        &["is not permitted to log in", "`alter role locked login`"],
    );
    tells(
        &told(&as_user("stranger"), &[]),
        &[
            "does not let user `stranger` into `who_is_not_let_in` from here",
            "`host who_is_not_let_in stranger ADDRESS scram-sha-256`",
            "`select pg_reload_conf()`",
        ],
    );
    tells(
        &told(&as_user("refused"), &[]),
        &["rejects connection", "`show hba_file`"],
    );
    tells(
        &told(&format!("{}?sslmode=disable", as_user("ciphered")), &[]),
        &["it may take TLS only: `sslmode=require`"],
    );
    let socket = db
        .server()
        .dev()
        .socket_folder()
        .display()
        .to_string()
        .replace('/', "%2F");
    tells(
        &told(&format!("postgres://socketed@{socket}/{}", db.name()), &[]),
        &["`sudo -u socketed kinedb ..`"],
    );
    let nowhere = as_user("postgres").replace("who_is_not_let_in", "nowhere");
    tells(
        &told(&nowhere, &[]),
        &[
            "database `nowhere` does not exist",
            "`createdb nowhere`",
            "(no-database, exit 7)",
        ],
    );
    db.sql("revoke connect on database who_is_not_let_in from public");
    tells(
        &told(&as_user("For%20eign"), &[]),
        &[
            "user `For eign` may not connect to database `who_is_not_let_in`",
            "`grant connect on database who_is_not_let_in to \"For eign\"`",
            "(privilege, exit 7)",
        ],
    );
    // What the hint says is what it takes.
    db.sql("grant connect on database who_is_not_let_in to \"For eign\"");
    status(&as_user("For%20eign"), &[]).ok();
}

#[test]
fn a_password_that_is_missing_and_one_that_is_wrong() {
    let (_server, db, here) = asking("a_password");
    let url = |user: &str| format!("postgres://{user}@{here}/{}", db.name());
    for user in ["keyed", "keyless", "hashed", "plain"] {
        tells(
            &told(&url(user), &[]),
            &[
                &format!("asks user `{user}` for a password, and none was given"),
                "`PGPASSWORD`",
                "`PGPASSFILE=FILE`",
                "`--database-url-file FILE`",
                "(authentication, exit 7)",
            ],
        );
    }
    tells(
        &told(&url("keyed"), &[("PGPASSWORD", "no-c4n4ry")]),
        &[
            "refused user `keyed` with this password",
            "`alter role keyed password '..'`",
        ],
    );
    let in_url = url("keyed").replace('@', ":no-c4n4ry@");
    tells(&told(&in_url, &[]), &["it stands in the URL"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pass");
    let named = file.to_str().unwrap();
    let with_file = [("PGPASSFILE", named)];
    tells(
        &told(&url("keyed"), &with_file),
        &["none was given", "cannot be read"],
    );
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::write(&file, "elsewhere:5432:*:keyed:c4n4ry\n").unwrap();
    mode(0o644);
    tells(
        &told(&url("keyed"), &with_file),
        &["others may read", &format!("`chmod 600 {named}`")],
    );
    mode(0o600);
    tells(
        &told(&url("keyed"), &with_file),
        &["has no line `HOST:PORT:DATABASE:USER:PASSWORD` that fits"],
    );
    std::fs::write(&file, format!("{here}:5432:*:keyed:c4n4ry\n")).unwrap();
    status(&url("keyed"), &with_file).ok();
}

#[test]
fn a_server_whose_connections_are_all_taken() {
    let (server, db, here) = asking("all_taken");
    db.sql("grant connect on database all_taken to limited");
    let url = |user: &str| format!("postgres://{user}@{here}/{}", db.name());
    let held = Session::of(&db, "limited");
    tells(
        &told(&url("limited"), &[]),
        &[
            "has no connection left for `limited`",
            "`--wait 30s`",
            "`alter role limited connection limit -1`",
        ],
    );
    drop(held);
    db.sql("alter database all_taken connection limit 0");
    tells(
        &told(&url("limited"), &[]),
        &["`alter database all_taken connection limit -1`"],
    );
    db.sql("alter database all_taken connection limit -1");
    db.sql("alter system set max_connections = 5");
    db.sql("alter system set superuser_reserved_connections = 3");
    server.dev().stop().unwrap();
    server.dev().start().unwrap();
    let held = [
        Session::of(&db, "limited"),
        Session::named(&db, "one"),
        Session::named(&db, "two"),
    ];
    tells(
        &told(&url("For%20eign"), &[]),
        &[
            "has no connection left for `For eign`",
            "`select pg_terminate_backend(PID)`",
        ],
    );
    drop(held);
}

#[test]
fn tls_that_is_missing_and_tls_that_is_not_trusted() {
    let (server, db, here) = asking("tls_missing");
    let url = |more: &str| format!("postgres://postgres@{here}/{}?sslmode={more}", db.name());
    tells(
        &told(&url("require"), &[]),
        &[
            "offers no TLS",
            "`alter system set ssl = on`",
            "`PGSSLMODE=disable`",
            "(tls, exit 7)",
        ],
    );
    let data = server.dev().folder().join("data");
    if !certificate(&data) {
        eprintln!("SKIPPED: no `openssl` here to make a certificate with");
        return;
    }
    db.sql("alter system set ssl = on");
    db.sql("select pg_reload_conf()");
    crate::tools::wait_until("TLS", std::time::Duration::from_secs(5), || {
        status(&url("require"), &[]).status == 0
    });
    tells(
        &told(&url("verify-full"), &[]),
        &["no TLS with", "`sslrootcert=FILE`", "`PGSSLROOTCERT=FILE`"],
    );
    let own = data.join("server.crt").display().to_string();
    status(&url(&format!("verify-ca&sslrootcert={own}")), &[]).ok();
    tells(
        &told(&url("verify-full&sslrootcert=/nonexistent"), &[]),
        &["(tls, exit 7)"],
    );
}

/// A certificate for another name, signed by itself.
fn certificate(data: &Path) -> bool {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-new",
        "-x509",
        "-days",
        "2",
        "-nodes",
        "-subj",
        "/CN=elsewhere",
        "-addext",
        "subjectAltName=DNS:elsewhere",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-out",
    ]);
    openssl.arg(data.join("server.crt"));
    openssl.arg("-keyout").arg(data.join("server.key"));
    if !openssl.output().is_ok_and(|done| done.status.success()) {
        return false;
    }
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let owner = std::fs::metadata(data).unwrap();
    for file in ["server.crt", "server.key"] {
        let file = data.join(file);
        std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    true
}
