//! What injects faults: sessions that hold things, runs in the background, a
//! proxy that counts, cuts and delays.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row};

use super::common::{Kinedb, TestDb};

/// A session of somebody else, kept open between statements.
pub struct Session {
    runtime: tokio::runtime::Runtime,
    conn: Option<PgConnection>,
}

impl Session {
    /// Opened under this application name.
    pub fn named(db: &TestDb, application: &str) -> Self {
        let options = db.server().dev().connect_options(db.name());
        Self::open(options.application_name(application))
    }

    /// Opened by this login.
    pub fn of(db: &TestDb, login: &str) -> Self {
        let options = db.server().dev().connect_options(db.name());
        Self::open(options.username(login))
    }

    fn open(options: sqlx::postgres::PgConnectOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let conn = runtime.block_on(options.connect()).expect("a session");
        Self {
            runtime,
            conn: Some(conn),
        }
    }

    /// Runs statements in one message.
    pub fn sql(&mut self, sql: &str) {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{error}, in: {sql}"));
    }

    /// The same; an error is the server's answer.
    pub fn try_sql(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let conn = self.conn.as_mut().expect("an open session");
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        self.runtime.block_on(conn.execute(query)).map(drop)
    }

    /// Runs a prepared statement and counts its rows.
    pub fn prepared(&mut self, sql: &str) -> Result<usize, sqlx::Error> {
        let conn = self.conn.as_mut().expect("an open session");
        let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        self.runtime
            .block_on(conn.fetch_all(query))
            .map(|rows| rows.len())
    }

    /// One value as text.
    pub fn value(&mut self, sql: &str) -> String {
        let conn = self.conn.as_mut().expect("an open session");
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let row = self.runtime.block_on(conn.fetch_one(query)).expect("a row");
        let value = row.try_get_raw(0).expect("a value");
        value.as_str().expect("text").to_owned()
    }

    /// Its backend.
    pub fn pid(&mut self) -> String {
        self.value("select pg_backend_pid()")
    }
}

/// A run that goes on while the test does something else; killed if forgotten.
pub struct Running(Option<Child>);

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, or 128 and the signal.
    pub status: i32,
    /// The result.
    pub stdout: String,
    /// All else.
    pub stderr: String,
    /// How long it took from the moment one waited for it.
    pub took: Duration,
}

impl Running {
    /// Starts it.
    pub fn start(command: Kinedb) -> Self {
        Self::spawn(&mut command.command())
    }

    /// Starts any command.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(Some(child.expect("a started command")))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.0.as_ref().map_or(0, Child::id);
        let pid = Pid::from_raw(i32::try_from(id).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a living run");
    }

    /// It has not ended yet.
    pub fn goes_on(&mut self) -> bool {
        self.0
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for its end, at most a minute.
    pub fn end(mut self) -> Ended {
        let began = Instant::now();
        wait_until("a run to end", Duration::from_secs(60), || !self.goes_on());
        let took = began.elapsed();
        let output = self
            .0
            .take()
            .expect("a run")
            .wait_with_output()
            .expect("its output");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        Ended {
            status: output
                .status
                .code()
                .unwrap_or_else(|| 128 + signal.unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        }
    }
}

impl Ended {
    /// It ended with this code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status, code, "{self:#?}");
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for a condition that must come true in time.
pub fn wait_until(what: &str, most: Duration, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + most;
    while !met() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a session of kinedb runs a statement that looks like this.
pub fn wait_for_statement(db: &TestDb, like: &str) {
    let text = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'kinedb%' and state = 'active' and query like '{like}' and pid <> pg_backend_pid()"
    );
    wait_until(like, Duration::from_secs(20), || db.value(&text) != "0");
}

/// Waits until kinedb has no session in this database any more; how long it took.
pub fn wait_for_no_session(db: &TestDb) -> Duration {
    let began = Instant::now();
    let text = "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'kinedb%'";
    wait_until("its sessions to end", Duration::from_secs(20), || {
        db.value(text) == "0"
    });
    began.elapsed()
}

/// What the proxy does to the first message that holds a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server gets it, the client never hears of the answer.
    Answer,
    /// The server never gets it.
    Request,
    /// The server gets it; from then on nothing passes, and neither side is told.
    SilentAnswer,
    /// Neither gets anything from then on, and neither is told.
    SilentRequest,
}

impl Cut {
    fn is_silent(self) -> bool {
        matches!(self, Self::SilentAnswer | Self::SilentRequest)
    }
}

/// Stands between kinedb and the server.
pub struct Proxy {
    port: u16,
    trips: Arc<Mutex<Vec<usize>>>,
}

struct Plan {
    /// Per connection, in the order in which they were opened.
    trips: Arc<Mutex<Vec<usize>>>,
    delay: Duration,
    cut: Mutex<Option<(Cut, &'static [u8])>>,
}

impl Proxy {
    /// Counts.
    pub fn new(db: &TestDb) -> Self {
        Self::with(db, Duration::ZERO, None)
    }

    /// Delays every answer, cuts the connection once.
    pub fn with(db: &TestDb, delay: Duration, cut: Option<(Cut, &'static [u8])>) -> Self {
        Self::on("127.0.0.1", db, delay, cut)
    }

    /// The same on another address of this machine.
    pub fn on(
        address: &str,
        db: &TestDb,
        delay: Duration,
        cut: Option<(Cut, &'static [u8])>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let trips = Arc::new(Mutex::new(Vec::new()));
        let plan = Arc::new(Plan {
            trips: Arc::clone(&trips),
            delay,
            cut: Mutex::new(cut),
        });
        let socket = db.server().dev().socket_folder().join(".s.PGSQL.5432");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (plan, socket) = (Arc::clone(&plan), socket.clone());
                std::thread::spawn(move || forward(client, &socket, &plan));
            }
        });
        Self { port, trips }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL that leads through it.
    pub fn url(&self, db: &TestDb) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, db.name())
    }

    /// Requests that were answered on the first connection, which is the run's own:
    /// on a slow machine others look who is in the way.
    pub fn trips(&self) -> usize {
        self.trips
            .lock()
            .unwrap()
            .first()
            .copied()
            .unwrap_or_default()
    }
}

fn forward(mut client: TcpStream, socket: &PathBuf, plan: &Arc<Plan>) {
    let _ = client.set_nodelay(true);
    let Ok(mut server) = UnixStream::connect(socket) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    let place = {
        let mut trips = plan.trips.lock().unwrap();
        trips.push(0);
        trips.len() - 1
    };
    let asked = Arc::new(Mutex::new(false));
    let swallow = Arc::new(Mutex::new(None::<Cut>));
    let answers = {
        let (mut server, mut client) = (
            server.try_clone().expect("a socket"),
            client.try_clone().expect("a socket"),
        );
        let (plan, asked, swallow) = (Arc::clone(plan), Arc::clone(&asked), Arc::clone(&swallow));
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(size @ 1..) = server.read(&mut buffer) {
                if std::mem::take(&mut *asked.lock().unwrap()) {
                    plan.trips.lock().unwrap()[place] += 1;
                    std::thread::sleep(plan.delay);
                }
                match *swallow.lock().unwrap() {
                    Some(Cut::Answer) => break,
                    Some(_) => continue,
                    None if client.write_all(&buffer[..size]).is_err() => break,
                    None => {}
                }
            }
            if swallow.lock().unwrap().is_some_and(Cut::is_silent) {
                // The server has ended its side, and nobody hears of it.
                std::thread::park();
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        })
    };
    let mut buffer = [0; 65_536];
    while let Ok(size @ 1..) = client.read(&mut buffer) {
        let mut cut = plan.cut.lock().unwrap();
        let hit = cut.filter(|(_, text)| {
            buffer[..size]
                .windows(text.len())
                .any(|window| window == *text)
        });
        if let Some((kind, _)) = hit {
            *cut = None;
            if kind == Cut::Request {
                break;
            }
            *swallow.lock().unwrap() = Some(kind);
            if kind == Cut::SilentRequest {
                drop(cut);
                loop {
                    std::thread::park();
                }
            }
        }
        drop(cut);
        *asked.lock().unwrap() = true;
        if server.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = answers.join();
}
