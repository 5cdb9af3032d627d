//! The command that installs PostgreSQL on this system, for hints.

/// One command to type, chosen by `/etc/os-release`; never run by kinedb.
pub fn install_hint() -> String {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    command_for(std::env::consts::OS, &os_release).to_owned()
}

fn command_for(os: &str, os_release: &str) -> &'static str {
    if os == "macos" {
        return "brew install postgresql@17";
    }
    let family: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let is = |name: &str| family.contains(&name);
    if is("debian") || is("ubuntu") {
        "apt-get install -y --no-install-recommends postgresql"
    } else if is("alpine") {
        "apk add postgresql17 postgresql17-contrib"
    } else if is("fedora") || is("rhel") || is("centos") {
        "dnf install -y postgresql-server postgresql-contrib"
    } else if is("arch") {
        "pacman -S --noconfirm postgresql"
    } else if is("suse") || is("opensuse") {
        "zypper install -y postgresql-server postgresql-contrib"
    } else {
        "install PostgreSQL 15 or newer, or set `KINEDB_PG_BIN` to the folder of its programs"
    }
}

#[cfg(test)]
mod tests {
    use super::command_for;

    #[test]
    fn each_family_gets_its_own_installer() {
        for (os, release, tool) in [
            ("macos", "", "brew"),
            ("linux", "ID=debian\nVERSION_ID=\"12\"", "apt-get"),
            ("linux", "ID=pop\nID_LIKE=\"ubuntu debian\"", "apt-get"),
            (
                "linux",
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"",
                "dnf",
            ),
            ("linux", "ID=alpine", "apk"),
            ("linux", "ID=plan9", "install"),
        ] {
            let command = command_for(os, release);
            assert!(command.starts_with(tool), "{release}: {command}");
        }
    }
}
