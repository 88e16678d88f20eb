//! One listener for every program: takes records, finds the program, sends its answers.

pub mod program;

pub use program::{Answer, Call, Program, Transport};
