//! How much memory the table takes for each held lock, with all that belongs to it: its place in the
//! trees, its file and its owner, but not the texts of names, which the callers here keep.
//!
//! The column `max alloc`, in its second line, is the most that was allocated at a time for a table
//! of a million locks; a millionth of it is the figure. The drop of the table is part of the time.

mod common;

use cleat_lock::{Core, Record};
use common::Bench;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const LOCKS: usize = 1_000_000;

/// A million locks of so many owners on so many files, taken in order.
#[divan::bench(
    args = [
        (1, 1), (1_000, 1), (1_000, 10_000), (1, 10_000), (100_000, 1), (100_000, 100_000),
        (1, 1_000_000), (1_000_000, 1_000_000),
    ],
    sample_count = 1,
    sample_size = 1
)]
fn million(bencher: Bencher, (owners, files): (usize, usize)) {
    let source = Bench::filled(owners, files, (LOCKS / files) as u64);
    let config = source.config.clone();
    bencher
        .with_inputs(|| ())
        .bench_local_values(|()| Core::restore(config.clone(), 0, records(&source), 90_000, true));
}

fn records(source: &Bench) -> impl Iterator<Item = Record> + '_ {
    source.core.records()
}
