//! Why no connection was made: each cause in a sentence of its own, with what to type.
//!
//! A server tells its reasons in the language of its `lc_messages`. So they are told
//! apart by SQLSTATE and by the routine of PostgreSQL that raised them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgDatabaseError, PgSslMode};

use crate::db::Target;
use crate::db::error::{of_sqlx, sentence};
use crate::db::ident::{Literal, plain};
use crate::fault::{Code, Fault};

/// What is wrong and what to do about it.
type Refusal = (Code, String, String);

/// Turns an error of connecting into one that says what to do.
pub(super) fn explained(error: &sqlx::Error, target: &Target) -> anyhow::Error {
    let (code, message, hint) = match error {
        // What the library for TLS finds wrong comes as data that is.
        sqlx::Error::Io(cause) if cause.kind() == ErrorKind::InvalidData => tls(cause, target),
        sqlx::Error::Io(cause) => match target.socket_folder() {
            Some(folder) => on_socket(cause, folder, target),
            None => on_network(cause, target),
        },
        sqlx::Error::Tls(cause) => tls(cause, target),
        sqlx::Error::Protocol(cause) if cause.contains("authentication method") => (
            Code::Authentication,
            format!(
                "`{}` asks user `{}` to prove who it is in a way that kinedb does not know",
                target.address(),
                target.options().get_username()
            ),
            "as an administrator, see `select * from pg_hba_file_rules`: `scram-sha-256`, `md5`, `cert`, `peer` and `trust` work"
                .to_owned(),
        ),
        // The answer to the first question, which is one byte, is what was there before it.
        sqlx::Error::Protocol(cause) if cause.contains(": 0x00 ") => {
            on_network(&ErrorKind::UnexpectedEof.into(), target)
        }
        _ => match of_sqlx(error) {
            Some(server) => by_server(server, target),
            None => (
                Code::Unreachable,
                format!("what answers at `{}` is no PostgreSQL server", target.address()),
                asks_whether("correct the port", target),
            ),
        },
    };
    Fault::new(code, message).hint(hint).into()
}

/// A hint that ends with the command that asks the server whether it is there.
fn asks_whether(first: &str, target: &Target) -> String {
    let host = match target.socket_folder() {
        Some(folder) => folder.display().to_string(),
        None => target.options().get_host().to_owned(),
    };
    format!(
        "{first}; `pg_isready -h {} -p {}` tells whether a server answers there",
        shell(&host),
        target.options().get_port()
    )
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn on_socket(cause: &std::io::Error, folder: &Path, target: &Target) -> Refusal {
    let port = target.options().get_port();
    let shown = folder.display();
    let (message, hint) = match cause.kind() {
        ErrorKind::NotFound if !folder.exists() => (
            format!("there is no folder `{shown}`, where the server's socket should be"),
            "name the folder that has it, as in `PGHOST=/var/run/postgresql`; as an administrator, `show unix_socket_directories` tells it".to_owned(),
        ),
        ErrorKind::NotFound => match ports_in(folder).as_slice() {
            [] => (
                format!("no server listens in `{shown}`: it has no socket there"),
                asks_whether("start the server, or wait for one that starts with `--wait 30s`", target),
            ),
            [first, ..] => (
                format!(
                    "no server listens at port {port} in `{shown}`; one does at port {first}"
                ),
                format!("name that port in the URL, or with `PGPORT={first}`; `ls -a {}` shows all of them", shell(&folder.display().to_string())),
            ),
        },
        ErrorKind::ConnectionRefused => (
            format!("the server whose socket is `{shown}/.s.PGSQL.{port}` does not run any more"),
            asks_whether("start it again, or wait for it with `--wait 30s`", target),
        ),
        ErrorKind::PermissionDenied => (
            format!("this user may not open the socket in `{shown}`"),
            format!("`ls -la {}` tells who may; run as one of them, or name the host instead", shell(&folder.display().to_string())),
        ),
        _ => return on_network(cause, target),
    };
    (Code::Unreachable, message, hint)
}

/// Ports of servers whose sockets are in a folder.
fn ports_in(folder: &Path) -> Vec<u16> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut ports: Vec<u16> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok()
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn on_network(cause: &std::io::Error, target: &Target) -> Refusal {
    let address = target.address();
    let host = target.options().get_host();
    let (message, hint) = match cause.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => (
            format!("`{address}` closed the connection while it was opened"),
            asks_whether(
                "correct the port, or see whether what stands between has a server behind it",
                target,
            ),
        ),
        ErrorKind::ConnectionRefused => (
            format!("nothing listens at `{address}`"),
            asks_whether(
                "correct host and port, or wait for a server that starts with `--wait 30s`",
                target,
            ),
        ),
        ErrorKind::TimedOut => (
            format!("no answer from `{address}`: {cause}"),
            asks_whether(
                "a firewall or a route swallows what is sent; correct the address or open the way",
                target,
            ),
        ),
        // Nothing but a file is found or not where a network is spoken to.
        ErrorKind::NotFound => {
            return (
                Code::Tls,
                format!("a certificate for TLS with `{address}` cannot be read: {cause}"),
                "correct the path in `sslrootcert`, `sslcert` or `sslkey` of the URL, or in `PGSSLROOTCERT`, `PGSSLCERT` or `PGSSLKEY`; `ls -l FILE` tells who may read it".to_owned(),
            );
        }
        // The system's resolver has numbers of its own for its errors.
        _ if cause.raw_os_error().is_none() => (
            format!("host `{host}` cannot be found: {cause}"),
            format!(
                "correct the name; `getent hosts {}` asks for it as kinedb does",
                shell(host)
            ),
        ),
        _ => (
            format!("`{address}` cannot be reached: {cause}"),
            asks_whether("correct the address or open the way", target),
        ),
    };
    (Code::Unreachable, message, hint)
}

fn tls(cause: &dyn std::fmt::Display, target: &Target) -> Refusal {
    let address = target.address();
    let told = cause.to_string();
    if told.contains("does not support TLS") {
        return (
            Code::Tls,
            format!("`{address}` offers no TLS, and plain text was not allowed"),
            "turn it on there (`alter system set ssl = on`, with a certificate); where plain text is meant, say `sslmode=disable` in the URL or `PGSSLMODE=disable`"
                .to_owned(),
        );
    }
    (
        Code::Tls,
        format!("no TLS with `{address}`: {told}"),
        format!(
            "name the certificates to trust with `sslrootcert=FILE` in the URL or `PGSSLROOTCERT=FILE`; `openssl s_client -starttls postgres -connect {}` shows the server's",
            shell(&address)
        ),
    )
}

fn by_server(error: &PgDatabaseError, target: &Target) -> Refusal {
    let user = target.options().get_username();
    let database = target.database();
    let address = target.address();
    let told = error.message();
    match (error.code(), error.routine().unwrap_or_default()) {
        ("28P01", _) if !target.has_password() => (
            Code::Authentication,
            format!("`{address}` asks user `{user}` for a password, and none was given"),
            no_password(),
        ),
        ("28P01", _) => (
            Code::Authentication,
            format!("the server refused user `{user}` with this password: {told}"),
            format!(
                "correct the password ({}); a role that does not exist, or that has no password, is told the same way: `alter role {} password '..'` gives it one",
                if target.password_in_url() {
                    "it stands in the URL"
                } else {
                    "`PGPASSWORD`, or a line of the password file"
                },
                plain(user)
            ),
        ),
        ("28000", "InitializeSessionUserId") => (
            Code::Authentication,
            format!("the server refused user `{user}`: {told}"),
            format!(
                "correct the user; or, as an administrator: {}",
                // Both are raised by one routine with one SQLSTATE.
                match told.contains("not exist") {
                    true => format!("`create role {} login`", plain(user)),
                    false => format!("`alter role {} login`", plain(user)),
                }
            ),
        ),
        ("28000", "ClientAuthentication") => (
            Code::Authentication,
            format!("the server does not let user `{user}` into `{database}` from here: {told}"),
            entry(target),
        ),
        ("28000", _) if target.socket_folder().is_some() => (
            Code::Authentication,
            format!("the server refused user `{user}`: {told}"),
            format!(
                "over a socket it asks which user of this machine you are: `sudo -u {} kinedb ..`, or name a host and a password",
                shell(user)
            ),
        ),
        ("28000" | "28P02", _) => (
            Code::Authentication,
            format!("the server refused user `{user}`: {told}"),
            "as an administrator, see what it asks of whom: `select * from pg_hba_file_rules`"
                .to_owned(),
        ),
        ("42501", "CheckMyDatabase") => (
            Code::Privilege,
            format!("user `{user}` may not connect to database `{database}`"),
            format!(
                "as an administrator: `grant connect on database {} to {}`",
                plain(database),
                plain(user)
            ),
        ),
        ("3D000", _) => (
            Code::NoDatabase,
            format!("database `{database}` does not exist on `{address}`"),
            format!(
                "create it with `createdb {}`, or correct the name",
                shell(database)
            ),
        ),
        ("57P03", _) => (
            Code::Unreachable,
            format!("the server at `{address}` is not yet accepting connections"),
            "run again with `--wait 30s`".to_owned(),
        ),
        ("53300", routine) => (
            Code::Unreachable,
            format!("the server at `{address}` has no connection left for `{user}`: {told}"),
            format!(
                "`--wait 30s` waits until one is free; or, as a superuser: {}",
                full(routine, user, database)
            ),
        ),
        ("55000", _) => (
            Code::Unreachable,
            format!("database `{database}` on `{address}` takes no connections: {told}"),
            format!(
                "as an administrator: `alter database {} with allow_connections true`",
                plain(database)
            ),
        ),
        ("08P01", _) if told.contains("startup parameter") => (
            Code::Pooler,
            format!("`{address}` is a pooler that refuses a session's parameters: {told}"),
            "connect to the server itself, or to a session pool".to_owned(),
        ),
        _ => (
            Code::Unreachable,
            format!(
                "the server at `{address}` refused the connection: {}",
                sentence(error)
            ),
            asks_whether("see the server's log", target),
        ),
    }
}

/// Whose limit is reached is told by who noticed.
fn full(routine: &str, user: &str, database: &str) -> String {
    let of = |condition: String| {
        format!("`select pid, state, state_change from pg_stat_activity where {condition}`")
    };
    match routine {
        "InitializeSessionUserId" => format!(
            "{} tells who has them, and `alter role {} connection limit -1` lifts the limit",
            of(format!("usename = {}", Literal::new(user))),
            plain(user)
        ),
        "CheckMyDatabase" => format!(
            "{} tells who has them, and `alter database {} connection limit -1` lifts the limit",
            of(format!("datname = {}", Literal::new(database))),
            plain(database)
        ),
        _ => format!(
            "{} tells which are idle, and `select pg_terminate_backend(PID)` ends one",
            of("state like 'idle%'".to_owned())
        ),
    }
}

/// What to write into `pg_hba.conf`, or to ask for where it is there.
fn entry(target: &Target) -> String {
    let user = target.options().get_username();
    let (kind, from) = match target.socket_folder() {
        Some(_) => ("local", ""),
        None => ("host", " ADDRESS"),
    };
    let line = format!(
        "as an administrator, add `{kind} {} {}{from} scram-sha-256` to the file that `show hba_file` names, then `select pg_reload_conf()`",
        plain(target.database()),
        plain(user)
    );
    let in_plain_text = matches!(
        target.options().get_ssl_mode(),
        PgSslMode::Disable | PgSslMode::Allow
    );
    if in_plain_text && target.socket_folder().is_none() {
        format!(
            "this was asked in plain text, and it may take TLS only: `sslmode=require` in the URL; or, {line}"
        )
    } else {
        line
    }
}

/// Where to give a password, and why the file that is there did not.
fn no_password() -> String {
    let ways = "give it in `PGPASSWORD`, in a password file (`PGPASSFILE=FILE`, else `~/.pgpass`), or with the URL in `--database-url-file FILE`";
    let file = match std::env::var_os("PGPASSFILE") {
        Some(file) => PathBuf::from(file),
        None => match std::env::home_dir() {
            Some(home) => home.join(".pgpass"),
            None => return ways.to_owned(),
        },
    };
    let shown = file.display();
    let Ok(metadata) = std::fs::metadata(&file) else {
        return match std::env::var_os("PGPASSFILE") {
            Some(_) => {
                format!("{ways}; the file that `PGPASSFILE` names, `{shown}`, cannot be read")
            }
            None => ways.to_owned(),
        };
    };
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o77 != 0 {
        return format!(
            "others may read `{shown}`, so it is left out: `chmod 600 {}`",
            shell(&file.display().to_string())
        );
    }
    format!("{ways}; `{shown}` has no line `HOST:PORT:DATABASE:USER:PASSWORD` that fits")
}
