//! Which database to talk to, and how to name it without its password.
//!
//! A URL is parsed here before sqlx sees it: sqlx and sea-orm print parts of
//! what they cannot parse, and a URL may hold a password.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::fault::{Code, Fault, fail};

/// A database to connect to. Neither `Debug` nor `Display` shows the password.
#[derive(Clone)]
pub struct Target {
    options: PgConnectOptions,
    password_in_url: bool,
}

/// The parameters a URL may have; sqlx would log any other one with its value.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

impl Target {
    /// Parses a URL. No message of this function contains any part of the URL
    /// that could be a password.
    pub fn from_url(text: &str) -> anyhow::Result<Self> {
        let form = "write it as postgres://USER@HOST:PORT/DATABASE, with special characters percent-encoded";
        let text = text.trim();
        if text.is_empty() {
            return fail(Code::BadUrl, "the database URL is empty", form);
        }
        let url = Url::parse(text).map_err(|cause| {
            Fault::new(
                Code::BadUrl,
                format!("the database URL cannot be parsed: {cause}"),
            )
            .hint(form)
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return fail(
                Code::BadUrl,
                "the database URL does not begin with `postgres://` or `postgresql://`",
                form,
            );
        }
        let mut sslmode_given = false;
        for (index, (key, value)) in url.query_pairs().enumerate() {
            // An unknown key may be the tail of a password with an unescaped `?` or `&`.
            if !PARAMETERS.contains(&&*key) {
                return fail(
                    Code::BadUrl,
                    format!("parameter {} of the database URL is not known", index + 1),
                    format!(
                        "known parameters: {}; special characters of a password must be percent-encoded",
                        PARAMETERS.join(", ")
                    ),
                );
            }
            if matches!(&*key, "sslmode" | "ssl-mode") {
                sslmode_given = true;
                if value.parse::<PgSslMode>().is_err() {
                    return fail(
                        Code::BadUrl,
                        "`sslmode` of the database URL has an unknown value",
                        "use disable, allow, prefer, require, verify-ca or verify-full",
                    );
                }
            }
            if &*key == "port" && value.parse::<u16>().is_err() {
                return fail(
                    Code::BadUrl,
                    "`port` of the database URL is not a port number",
                    form,
                );
            }
        }
        let password_in_url =
            url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password");
        let options: PgConnectOptions = text.parse().map_err(|_| {
            // The cause may quote the URL; it is dropped on purpose.
            Fault::new(Code::BadUrl, "the database URL cannot be used").hint(form)
        })?;
        Ok(Self::new(options, sslmode_given, password_in_url))
    }

    /// Reads the URL from a file, so that it stands on no command line.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!(
                    "cannot read the database URL from `{}`: {cause}",
                    path.display()
                ),
            )
            .hint("name a readable file with the URL in its first line")
        })?;
        let line = text.lines().next().unwrap_or_default();
        Self::from_url(line).with_context(|| format!("cannot use the URL in `{}`", path.display()))
    }

    /// What libpq's variables (`PGHOST`, `PGDATABASE`, ...) say, if any of the two is set.
    pub fn from_libpq_environment() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        (set("PGHOST") || set("PGDATABASE") || set("PGHOSTADDR"))
            .then(|| Self::new(PgConnectOptions::new(), set("PGSSLMODE"), false))
    }

    /// Takes options made by kinedb itself, for the local server.
    pub fn from_options(options: PgConnectOptions) -> Self {
        Self {
            options,
            password_in_url: false,
        }
    }

    fn new(options: PgConnectOptions, sslmode_given: bool, password_in_url: bool) -> Self {
        let mut target = Self {
            options,
            password_in_url,
        };
        if target.options.get_socket().is_some() {
            // PostgreSQL has no TLS on sockets; not to ask saves a round trip.
            target.options = target.options.ssl_mode(PgSslMode::Disable);
            return target;
        }
        if target.is_local() || sslmode_given || std::env::var_os("PGSSLMODE").is_some() {
            return target;
        }
        // Beyond this machine sqlx's default `prefer` would fall back to plain text silently.
        target.options = target.options.ssl_mode(PgSslMode::Require);
        target
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            options: self.options.clone().database(database),
            password_in_url: self.password_in_url,
        }
    }

    /// What sqlx connects with. Its `Debug` shows the password: never print it.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The password stood in the URL itself.
    pub fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    /// A socket or the loopback interface.
    pub fn is_local(&self) -> bool {
        let host = self.options.get_host();
        self.socket_folder().is_some()
            || host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// A password was given, by URL, environment or password file.
    pub fn has_password(&self) -> bool {
        self.options.to_url_lossy().password().is_some()
    }

    /// The folder of the server's socket, where it is reached by one.
    pub fn socket_folder(&self) -> Option<&Path> {
        let host = self.options.get_host();
        match self.options.get_socket() {
            Some(folder) => Some(folder),
            None => host.starts_with('/').then(|| Path::new(host)),
        }
    }

    /// The database's name: what was given, else the user's name, as libpq has it.
    pub fn database(&self) -> &str {
        self.options
            .get_database()
            .unwrap_or_else(|| self.options.get_username())
    }

    /// Host and port, or the socket's folder.
    pub fn address(&self) -> String {
        match self.socket_folder() {
            Some(folder) => folder.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "database `{}` on `{}` as `{}`",
            self.database(),
            self.address(),
            self.options.get_username()
        )
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "c4n4ry";

    fn refusal(url: &str) -> String {
        let error = Target::from_url(url).expect_err("must be refused");
        let hint = Fault::of(&error)
            .and_then(Fault::hint_text)
            .unwrap_or_default()
            .to_owned();
        format!("{error:#} {error:?} {hint}")
    }

    #[test]
    fn no_refusal_shows_a_password() {
        for url in [
            "postgres://kine:c4n4ry@host:notaport/db",
            "mysql://kine:c4n4ry@host/db",
            "postgres://kine:pass?c4n4ry@host/db",
            "postgres://kine:x&y@host/db?c4n4ry=1",
            "postgres://kine:c4n4ry@host/db?sslmode=c4n4ry",
            "postgres://kine:c4n4ry@host/db?port=c4n4ry",
            "kine:c4n4ry@host/db",
            "postgres://kine:c4n4ry@ho st/db",
        ] {
            let shown = refusal(url);
            assert!(!shown.contains(CANARY), "{url} gives {shown}");
        }
    }

    #[test]
    fn a_target_is_named_without_its_password() {
        let target = Target::from_url("postgres://kine:c4n4ry@db.example:6543/clinic").unwrap();
        assert_eq!(
            target.to_string(),
            "database `clinic` on `db.example:6543` as `kine`"
        );
        assert!(!format!("{target:?}").contains(CANARY));
        assert!(target.password_in_url());
    }

    #[test]
    fn tls_is_required_beyond_this_machine() {
        let mode = |url: &str| {
            format!(
                "{:?}",
                Target::from_url(url).unwrap().options().get_ssl_mode()
            )
        };
        assert_eq!(mode("postgres://kine@db.example/clinic"), "Require");
        assert_eq!(mode("postgres://kine@127.0.0.1/clinic"), "Prefer");
        assert_eq!(
            mode("postgres://kine@db.example/clinic?sslmode=disable"),
            "Disable"
        );
    }
}
