//! What is promised of speed, measured: `make bench`, or `cargo bench -- verify` for a
//! part. Every line tells the goal and whether this machine met it now.
//!
//! All parts are one program, because each program more is linked and optimised whole.
//! `KINEDB_BENCH_ROUNDS` sets how often each contender runs.

// A bench prints, and what it cannot do it should say loudly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/migrations.rs"]
mod migrations;

mod audit;
mod check;
mod seed;
mod upgrade;
mod verify;

const PARTS: [(&str, fn()); 5] = [
    ("upgrade", upgrade::measure_all),
    ("verify", verify::measure_all),
    ("check", check::measure_all),
    ("audit", audit::measure_all),
    ("seed", seed::measure_all),
];

fn main() {
    if let Some(folder) = std::env::var_os(upgrade::STOCK) {
        upgrade::stock(folder.into());
        return;
    }
    // Cargo adds a flag of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for name in &wanted {
        let known = PARTS.map(|(part, _)| part);
        assert!(
            known.contains(&name.as_str()),
            "no part {name}: there are {}",
            known.join(", ")
        );
    }
    for (name, measure_all) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            println!("\n== {name}");
            measure_all();
        }
    }
}
