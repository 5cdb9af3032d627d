//! What the operating system knows of a process id.

use std::path::Path;
use std::process::{Command, Stdio};

/// A process id, looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Process {
    /// No such process.
    Gone,
    /// It has ended, and nobody has collected it.
    Zombie,
    /// It runs; its command line, words separated by spaces.
    Alive(String),
}

/// Looks a process up: by `/proc` where there is one, else by `ps`.
pub(super) fn look_up(pid: u32) -> Process {
    let proc = Path::new("/proc").join(pid.to_string());
    if Path::new("/proc/self/stat").exists() {
        let Ok(stat) = std::fs::read_to_string(proc.join("stat")) else {
            return Process::Gone;
        };
        if is_zombie(&stat) {
            return Process::Zombie;
        }
        let line = std::fs::read(proc.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        return Process::Alive(line.trim().to_owned());
    }
    let shown = Command::new("ps")
        .args(["-o", "stat=,command=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = shown.map_or_else(
        |_| String::new(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    );
    match text.split_once(' ') {
        None => Process::Gone,
        Some((stat, _)) if stat.starts_with('Z') => Process::Zombie,
        Some((_, line)) => Process::Alive(line.trim().to_owned()),
    }
}

/// The state letter stands behind the name, which may itself hold parentheses.
fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Whether the process may be a server that holds this data folder. In doubt
/// (a server started by hand with a relative path) the answer is yes.
pub(super) fn may_serve(pid: u32, data: &Path) -> bool {
    let Process::Alive(line) = look_up(pid) else {
        return false;
    };
    if line.contains(&*data.to_string_lossy()) {
        return true;
    }
    let program = line.split_whitespace().next().unwrap_or_default();
    let names_postgres = Path::new(program)
        .file_name()
        .is_some_and(|name| name == "postgres" || name == "postmaster");
    // Its working folder is the data folder; unreadable means: cannot tell.
    let elsewhere = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd != data);
    names_postgres && !elsewhere && !has_absolute_data_folder(&line)
}

/// Whether the server that held this data folder is at its end. On the way
/// there a process has no command line any more and is no zombie yet.
pub(super) fn has_ended(pid: u32, data: &Path) -> bool {
    match look_up(pid) {
        Process::Gone | Process::Zombie => true,
        Process::Alive(line) => !line.is_empty() && !may_serve(pid, data),
    }
}

fn has_absolute_data_folder(line: &str) -> bool {
    line.contains(" -D /") || line.contains(" -D/")
}

#[cfg(test)]
mod tests {
    use super::{Process, is_zombie, look_up, may_serve};
    use std::path::Path;

    #[test]
    fn a_zombie_is_seen_behind_any_name() {
        assert!(is_zombie("12 (postgres) Z 1 12"));
        assert!(is_zombie("12 (a) S (b) Z 1 12"));
        assert!(!is_zombie("12 (Z) S 1 12"));
    }

    #[test]
    fn an_ended_child_is_a_zombie_until_collected() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while matches!(look_up(pid), Process::Alive(_)) {
            std::thread::yield_now();
        }
        assert_eq!(look_up(pid), Process::Zombie);
        assert!(!may_serve(pid, Path::new("/")));
        child.wait().unwrap();
        assert_eq!(look_up(pid), Process::Gone);
    }

    #[test]
    fn this_test_serves_nothing() {
        assert!(!may_serve(std::process::id(), Path::new("/no/such/data")));
    }
}
