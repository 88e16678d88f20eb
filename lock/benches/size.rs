//! How much memory a held lock takes: bytes allocated for a table, by its number of locks.
//!
//! `scripts/bench lock size` runs this; the column `max alloc` divided by the number of locks is the figure.

fn main() {}
