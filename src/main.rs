//! The `kinedb` program.

fn main() -> std::process::ExitCode {
    kinedb::run().into()
}
