//! A server that is gone without a word: the driver asks no keepalive of the system,
//! so a run would wait for an answer for a quarter of an hour, or for ever.
//!
//! The driver does not lend its socket. Linux lets a process take hold of what it has
//! open itself; where that is refused, as elsewhere, it stays as the system has it.

#[cfg(not(target_os = "linux"))]
pub(super) fn ask(_port: u16) {}

/// Questions after 5 s of silence, three of them 2 s apart; what was sent and never
/// acknowledged ends a connection after 15 s. For every TCP socket to this port.
#[cfg(target_os = "linux")]
pub(super) fn ask(port: u16) {
    // Without it everything works as long as the network does.
    let _ = linux::ask(port);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::SocketAddr;
    use std::time::Duration;

    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    pub(super) fn ask(port: u16) -> std::io::Result<()> {
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let is_socket = std::fs::read_link(entry.path())
                .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
            if !is_socket {
                continue;
            }
            // One that was closed meanwhile is not the one that was just opened.
            let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else {
                continue;
            };
            let peer = getpeername(&socket).ok().flatten();
            let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else {
                continue;
            };
            if peer.port() == port {
                sockopt::set_socket_keepalive(&socket, true)?;
                sockopt::set_tcp_keepidle(&socket, Duration::from_secs(5))?;
                sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(2))?;
                sockopt::set_tcp_keepcnt(&socket, 3)?;
                sockopt::set_tcp_user_timeout(&socket, 15_000)?;
            }
        }
        Ok(())
    }
}
