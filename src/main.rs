//! The `cleat` command.

fn main() -> std::process::ExitCode {
    cleat::cli::main()
}
