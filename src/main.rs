//! The `cleat` command.
fn main() {}
