//! What people see while a command runs. All of it goes to stderr; results go to
//! stdout through `report`.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::fault::{Code, Fault, fail};

/// How much is told, and how.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
    terminal: bool,
    color: bool,
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
        }
    }

    /// A line for people. A closed stderr is no reason to fail.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.write(text.as_ref());
        }
    }

    /// A warning, shown with `--quiet` too.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.write(&format!(
            "{} {}",
            self.paint("33;1", "warning:"),
            text.as_ref()
        ));
    }

    /// An error with its cause chain and hint.
    pub fn error(&self, error: &anyhow::Error) {
        let fault = Fault::of(error);
        let code = fault.map_or(Code::Internal, Fault::code);
        self.write(&format!(
            "{} {}",
            self.paint("31;1", "error:"),
            chain(error)
        ));
        if let Some(hint) = fault.and_then(Fault::hint_text) {
            self.write(&format!("{} {hint}", self.paint("36;1", "Hint:")));
        }
        self.write(&format!("({}, exit {})", code.name(), code.exit().code()));
    }

    /// A progress bar on a terminal, nothing elsewhere.
    pub fn progress(&self, length: u64, unit: &str) -> ProgressBar {
        if self.quiet || !self.terminal {
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
