//! The lock service: drives the lock core, speaks NLM, and calls back.

mod driver;

pub use driver::{Event, Lockd, Settings};
