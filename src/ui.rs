//! What people see while a command runs. All of it goes to stderr; results go to
//! stdout through `report`.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

use crate::fault::{Code, Fault, fail};

/// The log file could not be written, and that was said.
static LOG_BROKEN: AtomicBool = AtomicBool::new(false);

/// The form of what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Progress.
    Info,
    /// Something to look at.
    Warn,
    /// Why the command failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How much is told, and how.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
    terminal: bool,
    color: bool,
    format: LogFormat,
    /// Gets every line as JSON, whatever stderr gets.
    file: Option<&'static Mutex<File>>,
}

impl Ui {
    /// Looks at the terminal and the environment.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            quiet,
            terminal,
            color: terminal && !plain,
            format: LogFormat::Text,
            file: None,
        }
    }

    /// The same with JSON lines: on stderr, in a file that grows, or both.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn with_log(mut self, format: LogFormat, file: Option<&Path>) -> anyhow::Result<Self> {
        self.format = format;
        if let Some(path) = file {
            let opened = File::options().create(true).append(true).open(path);
            let file = opened.map_err(|cause| {
                let message = format!("cannot write the log `{}`: {cause}", path.display());
                Fault::new(Code::BadFile, message)
                    .hint("name a file in a folder that you may write to with `--log-file`")
            })?;
            // One per process, wanted until its end.
            self.file = Some(Box::leak(Box::new(Mutex::new(file))));
        }
        Ok(self)
    }

    /// Tells one event: a line for people, and fields for programs.
    pub fn tell(&self, level: Level, event: &str, text: &str, fields: Map<String, Value>) {
        let human = match level {
            Level::Warn => format!("{} {text}", self.paint("33;1", "warning:")),
            _ => text.to_owned(),
        };
        self.emit(level, event, text, fields, &human);
    }

    fn emit(&self, level: Level, event: &str, text: &str, fields: Map<String, Value>, human: &str) {
        let json = self.file.is_some() || self.format == LogFormat::Json;
        let line = if json {
            object(level, event, text, fields)
        } else {
            String::new()
        };
        if let Some(file) = self.file {
            let written = {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                writeln!(file, "{line}")
            };
            // A full disk must not fail a migration, but is said once.
            if let Err(cause) = written
                && !LOG_BROKEN.swap(true, Ordering::Relaxed)
            {
                let mark = self.paint("33;1", "warning:");
                let text = format!("the log file lacks what follows: {cause}");
                self.write(&match self.format {
                    LogFormat::Json => object(Level::Warn, "log-broken", &text, Map::new()),
                    LogFormat::Text => format!("{mark} {text}"),
                });
            }
        }
        if self.quiet && level == Level::Info {
            return;
        }
        self.write(match self.format {
            LogFormat::Json => &line,
            LogFormat::Text => human,
        });
    }

    /// A line for people. A closed stderr is no reason to fail.
    pub fn say(&self, text: impl AsRef<str>) {
        self.tell(Level::Info, "message", text.as_ref(), Map::new());
    }

    /// A warning, shown with `--quiet` too.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.tell(Level::Warn, "warning", text.as_ref(), Map::new());
    }

    /// An error with its cause chain and hint.
    pub fn error(&self, error: &anyhow::Error) {
        let fault = Fault::of(error);
        let code = fault.map_or(Code::Internal, Fault::code);
        // Nobody is left without a next step: what helps with all errors of the code.
        let hint = fault
            .and_then(Fault::hint_text)
            .unwrap_or_else(|| code.solution());
        let mut text = format!("{} {}", self.paint("31;1", "error:"), chain(error));
        text.push_str(&format!("\n{} {hint}", self.paint("36;1", "Hint:")));
        text.push_str(&format!("\n({}, exit {})", code.name(), code.exit().code()));
        let fields = [
            ("code", Value::from(code.name())),
            ("exit_code", code.exit().code().into()),
            ("hint", hint.into()),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        self.emit(
            Level::Error,
            "error",
            &chain(error),
            Map::from_iter(fields),
            &text,
        );
    }

    /// A progress bar on a terminal, nothing elsewhere.
    pub fn progress(&self, length: u64, unit: &str) -> ProgressBar {
        if self.quiet || !self.terminal || self.format == LogFormat::Json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let template = format!("{{bar:30}} {{pos}}/{{len}} {unit} {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Asks for a typed answer on a terminal; elsewhere it fails with the flag to use.
    /// The terminal stays as it is, so a signal at the prompt leaves nothing to restore.
    pub async fn ask(&self, question: &str, flag: &str) -> anyhow::Result<String> {
        if !self.terminal || !std::io::stdin().is_terminal() {
            return fail(
                Code::Refused,
                format!("{question}: there is no terminal to ask on"),
                format!("say it with `{flag}`"),
            );
        }
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{question}: ").and_then(|()| stderr.flush());
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        match answer.await {
            Ok(Ok(line)) => Ok(line.trim().to_owned()),
            _ => fail(
                Code::Refused,
                "no answer was given",
                format!("say it with `{flag}`"),
            ),
        }
    }

    fn write(&self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{line}");
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// One line of a log.
fn object(level: Level, event: &str, text: &str, fields: Map<String, Value>) -> String {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let mut line = Map::new();
    line.insert("ts".to_owned(), now.into());
    line.insert("level".to_owned(), level.name().into());
    line.insert("event".to_owned(), event.into());
    line.insert("message".to_owned(), text.into());
    line.extend(fields);
    Value::Object(line).to_string()
}

/// The chain from the outermost sentence down to the fault that explains it. What
/// lies behind a fault are the driver's own words, which may quote data.
fn chain(error: &anyhow::Error) -> String {
    let explained = Fault::of(error).map(ToString::to_string);
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let last = explained.as_ref() == Some(&text);
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        if last {
            break;
        }
    }
    parts.join(": ")
}
