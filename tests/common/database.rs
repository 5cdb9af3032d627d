//! A database per test: named after it, dropped on success, kept on failure.

use std::collections::HashMap;
use std::sync::Mutex;

use kinedb::db::ident::Ident;
use kinedb::dev::template;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, ValueRef};

use super::{TestServer, block_on};

/// One test's database. Its methods panic where the database answers an error,
/// which is what a test wants.
pub struct TestDb {
    server: TestServer,
    name: Ident,
}

impl TestDb {
    /// An empty database on the shared server.
    pub fn new(test: &str) -> Self {
        TestServer::shared().database(test)
    }

    /// A database on the shared server, migrated to head by the built `kinedb`.
    pub fn migrated(test: &str) -> Self {
        TestServer::shared().migrated_database(test)
    }

    pub(super) fn create(server: &TestServer, test: &str, from: Option<&Ident>) -> Self {
        let name = Ident::new(unused_name(server, test));
        block_on(async {
            let mut conn = server.connect("postgres").await;
            let created = template::create_database(&mut conn, &name, from)
                .await
                .unwrap_or_else(|error| panic!("{error:#}"));
            assert!(created, "database `{}` is there already", name.as_str());
        });
        Self {
            server: server.clone(),
            name,
        }
    }

    /// The same once more, but for the grants on the database itself.
    pub fn copied(&self) -> Self {
        Self::create(&self.server, "a_copy", Some(&self.name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The server it lies on.
    pub fn server(&self) -> &TestServer {
        &self.server
    }

    /// A URL of the superuser.
    pub fn url(&self) -> String {
        self.server.url(self.name())
    }

    /// A URL of another login. There is no password.
    pub fn url_as(&self, login: &str) -> String {
        let mut url = url::Url::parse(&self.url()).unwrap();
        url.set_username(login).unwrap();
        url.into()
    }

    /// A connection of the superuser.
    pub async fn connect(&self) -> PgConnection {
        self.server.connect(self.name()).await
    }

    /// A connection of another login.
    pub async fn connect_as(&self, login: &str) -> PgConnection {
        let options = self.server.dev().connect_options(self.name());
        options
            .username(login)
            .connect()
            .await
            .unwrap_or_else(|error| panic!("connect to `{}` as `{login}`: {error}", self.name()))
    }

    /// Runs statements as the superuser, in one message.
    pub fn sql(&self, sql: &str) {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{error}, in:\n{sql}"));
    }

    /// The same; an error is the server's answer.
    pub fn try_sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            let mut conn = self.connect().await;
            let done = sqlx::raw_sql(sql).execute(&mut conn).await;
            let _ = conn.close().await;
            done.map(drop)
        })
    }

    /// The rows of a query, each value as text; null is none.
    pub fn query_rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let text = AssertSqlSafe(sql.to_owned());
        block_on(async {
            let mut conn = self.connect().await;
            // The simple protocol sends every type as text.
            let rows = sqlx::raw_sql(text)
                .fetch_all(&mut conn)
                .await
                .unwrap_or_else(|error| panic!("{error}, in:\n{sql}"));
            let _ = conn.close().await;
            rows.iter()
                .map(|row| {
                    (0..row.len())
                        .map(|column| {
                            let value = row.try_get_raw(column).unwrap();
                            (!value.is_null()).then(|| value.as_str().unwrap().to_owned())
                        })
                        .collect()
                })
                .collect()
        })
    }

    /// The one value of a query; null is the empty text.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.query_rows(sql);
        assert!(
            rows.len() == 1 && rows[0].len() == 1,
            "not one value but {rows:?}, from:\n{sql}"
        );
        rows[0][0].clone().unwrap_or_default()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.server.keep();
            eprintln!(
                "kept database `{name}`; look at it with\n  kinedb dev start --dev-dir {folder}\n  psql '{url}'",
                name = self.name(),
                folder = self.server.dev().folder().display(),
                url = self.url(),
            );
            return;
        }
        block_on(async {
            let options = self.server.dev().connect_options("postgres");
            // A test may have ended the server: then nothing is left to drop.
            if let Ok(mut conn) = options.connect().await {
                let _ = template::drop_database(&mut conn, &self.name).await;
                let _ = conn.close().await;
            }
        });
    }
}

/// The test's name, cut to what PostgreSQL takes; numbered from the second on.
fn unused_name(server: &TestServer, test: &str) -> String {
    static USED: Mutex<Option<HashMap<String, u32>>> = Mutex::new(None);
    let name: String = test
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(55)
        .collect();
    let mut used = USED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let key = format!("{} {name}", server.dev().folder().display());
    let count = used
        .get_or_insert_default()
        .entry(key)
        .and_modify(|count| *count += 1)
        .or_insert(1);
    if *count == 1 {
        name
    } else {
        format!("{name}_{count}")
    }
}
