//! Ends a server together with the process that wanted it, however that ends.
//!
//! A shell reads from a pipe whose other end only this process holds. When the
//! process is gone, by return, panic or `kill -9`, the kernel closes that end,
//! and the shell stops the server and removes its folder. It sits in a process
//! group of its own, so that a signal to the tests' group does not take it along.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A file of this name in the server's folder keeps the folder.
pub const KEPT: &str = "kept";

const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r order
[ -d "$1" ] || exit 0
# A server that was just being started has not written its pid yet.
tries=0
[ "$order" != now ] || tries=10
until pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && [ -n "$pid" ]; do
    tries=$((tries + 1))
    [ $tries -lt 10 ] || break
    sleep 0.05
done
serves() {
    { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } 2>/dev/null | grep -qF "$1/data"
}
if [ -n "$pid" ] && serves "$1"; then
    signal=QUIT
    [ ! -e "$1/kept" ] || signal=INT
    kill -$signal "$pid"
    tries=0
    while serves "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 1000 ] || kill -9 "$pid"
        [ $tries -lt 1100 ] || break
        sleep 0.01
    done
fi
[ -e "$1/kept" ] || rm -rf "$1" "$2"
"#;

/// Lives as long as the server is wanted.
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// Watches over the server of this folder; call it before the start.
    pub fn over(folder: &Path, sockets: &Path) -> Self {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(folder)
            .arg(sockets)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell to watch over the test server");
        Self { shell }
    }
}

impl Drop for Guard {
    /// Lets the shell do its work now and waits for it.
    fn drop(&mut self) {
        if let Some(mut order) = self.shell.stdin.take() {
            let _ = order.write_all(b"now\n");
        }
        let _ = self.shell.wait();
    }
}
