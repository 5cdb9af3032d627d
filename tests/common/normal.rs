//! Takes out of a text what differs from run to run. The one place for it.

use std::sync::LazyLock;

use regex::Regex;

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        // Places first: their digits are not durations.
        (r"postgres(ql)?://[^\s'`]+", "[url]"),
        (
            r"/[^\s'`:,]*/kinedb-test-\d+/[A-Za-z_]+-\d+-\d+",
            "[server]",
        ),
        (r"/tmp/kinedb-\d+-[0-9a-f]{12}", "[socket]"),
        (r"/tmp/\.tmp[A-Za-z0-9]{6}", "[tmp]"),
        (
            r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "[uuid]",
        ),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (
            r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?(Z|UTC|[+-]\d\d(:?\d\d)?))?",
            "[time]",
        ),
        (r"\b\d+(\.\d+)? ?(ns|µs|us|ms|min|s)\b", "[took]"),
        (r#""(duration_ms|took_ms)": ?\d+(\.\d+)?"#, "\"$1\": [took]"),
        (r"\b(localhost|127\.0\.0\.1|\[::1\]):\d+\b", "$1:[port]"),
        (r"\b(pid|process) \d+\b", "$1 [pid]"),
        (r#""(pid|run_pid)": ?\d+"#, "\"$1\": [pid]"),
    ]
    .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name))
    .into()
});

/// The text without times, durations, ids, ports, process ids and places.
pub fn normal(text: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut text = text
        .replace(env!("CARGO_TARGET_TMPDIR"), "[target]")
        .replace(root, "[repository]");
    for (pattern, name) in RULES.iter() {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    text
}
