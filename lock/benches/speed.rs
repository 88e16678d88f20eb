//! How long the core takes for what it does most and for what could get out of hand.
//!
//! `scripts/bench/lock speed` runs this; `scripts/bench/lock speed hand_over` only what has that in its
//! name.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

mod common;

use cleat_lock::{Config, Core, GrantAck, Input, Mode, Outcome, Range, Recovery, WaiterId};
use common::{Bench, free, held};
use divan::Bencher;

fn main() {
    divan::main();
}

/// One lock and its unlock: two steps, with the making of their inputs and the dropping of their
/// effects.
mod lock_unlock {
    use super::*;

    fn pairs(bencher: Bencher, mut bench: Bench, mut place: impl FnMut(&mut Bench) -> Place) {
        bencher.bench_local(|| {
            let (owner, file, n) = place(&mut bench);
            bench.lock(owner, file, free(n), None);
            bench.unlock(owner, file, free(n))
        });
    }

    type Place = (usize, usize, u64);

    /// Nothing else in the table but the owner's one lock on another file.
    #[divan::bench(sample_count = 200, sample_size = 5_000)]
    fn alone(bencher: Bencher) {
        let mut bench = Bench::new(1);
        bench.lock(0, 1, held(0), None);
        pairs(bencher, bench, |_| (0, 0, 0));
    }

    /// Nothing else in the table: owner and file are forgotten and met again each time.
    #[divan::bench(sample_count = 200, sample_size = 5_000)]
    fn alone_and_new(bencher: Bencher) {
        pairs(bencher, Bench::new(1), |_| (0, 0, 0));
    }

    const MILLION: u64 = 1_000_000;

    /// A million locks on the file, the next place each time.
    #[divan::bench(args = [1, 1_000], sample_count = 100, sample_size = 5_000)]
    fn million_in_order(bencher: Bencher, owners: usize) {
        let mut next = 0;
        pairs(bencher, Bench::filled(owners, 1, MILLION), |_| {
            next += 1;
            (0, 0, next % MILLION)
        });
    }

    /// A million locks on the file, within 10,000 of them.
    #[divan::bench(args = [1, 1_000], sample_count = 100, sample_size = 5_000)]
    fn million_nearby(bencher: Bencher, owners: usize) {
        pairs(bencher, Bench::filled(owners, 1, MILLION), |bench| (0, 0, bench.random(10_000)));
    }

    /// A million locks on the file, anywhere.
    #[divan::bench(args = [1, 1_000], sample_count = 100, sample_size = 5_000)]
    fn million_anywhere(bencher: Bencher, owners: usize) {
        pairs(bencher, Bench::filled(owners, 1, MILLION), |bench| (0, 0, bench.random(MILLION)));
    }

    /// A hundred locks on each of 10,000 files, anywhere.
    #[divan::bench(args = [1, 1_000], sample_count = 100, sample_size = 5_000)]
    fn many_files_anywhere(bencher: Bencher, owners: usize) {
        pairs(bencher, Bench::filled(owners, 10_000, 100), |bench| {
            let file = usize::try_from(bench.random(10_000)).unwrap();
            (0, file, bench.random(100))
        });
    }
}

/// Everything of a client that holds so many locks on one file, amid as many of another client.
#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 10, sample_size = 1)]
fn free_all(bencher: Bencher, locks: u64) {
    let filled = || {
        let mut bench = Bench::new(101);
        for n in 0..locks {
            bench.lock(0, 0, held(n * 2), None);
            bench.lock(100, 0, held(n * 2 + 1), None);
        }
        bench
    };
    bencher.with_inputs(filled).bench_local_values(|mut bench| {
        assert_eq!(bench.free_all(0), Outcome::Done);
        bench
    });
}

/// The same with nothing of another client amid, where so many owners wait for the whole file in
/// shared mode, who hold nothing, or a lock each somewhere behind.
#[divan::bench(args = [(10_000, false), (100_000, false), (100_000, true)], sample_count = 5,
    sample_size = 1)]
fn free_all_awaited(bencher: Bencher, (locks, holding): (u64, bool)) {
    const WAITERS: usize = 1_000;
    let filled = || {
        let mut bench = Bench::new(100 + WAITERS);
        for n in 0..locks {
            bench.lock(0, 0, held(n), None);
        }
        for waiter in 0..WAITERS {
            if holding {
                bench.lock_in(Mode::Shared, 100 + waiter, 0, held(locks + waiter as u64), None);
            }
            bench.lock_in(Mode::Shared, 100 + waiter, 0, Range::ALL, Some(false));
        }
        bench
    };
    bencher.with_inputs(filled).bench_local_values(|mut bench| {
        assert_eq!(bench.free_all(0), Outcome::Done);
        assert_eq!(bench.core.counters().waiting, 0);
        bench
    });
}

/// Owner `i` holds byte `i` and waits for byte `i - 1`; owner 0 asks for the last one, which closes
/// the cycle: every waiter is looked at, and the request refused.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 100, sample_size = 1)]
fn deadlock_chain(bencher: Bencher, length: u64) {
    let owners = usize::try_from(length).unwrap();
    let mut bench = Bench::filled(owners, 1, length);
    for n in 1..owners {
        assert_eq!(bench.lock(n, 0, held(n as u64 - 1), Some(false)), Outcome::Blocked);
    }
    bencher.bench_local(|| {
        let outcome = bench.lock(0, 0, held(length - 1), Some(true));
        assert!(matches!(outcome, Outcome::Deadlock { .. }));
    });
}

/// The same in a table just restored, where the search is the first.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 20, sample_size = 1)]
fn deadlock_chain_after_restart(bencher: Bencher, length: u64) {
    let owners = usize::try_from(length).unwrap();
    let restored = || {
        let mut bench = Bench::filled(owners, 1, length);
        for n in 1..owners {
            assert_eq!(bench.lock(n, 0, held(n as u64 - 1), Some(false)), Outcome::Blocked);
        }
        let records: Vec<_> = bench.core.records().collect();
        let config = Config { recovery: Recovery::Instant, ..bench.config.clone() };
        bench.core = Core::restore(config, 1_000, records, 90_000, true);
        bench.step(Input::Tick);
        bench
    };
    bencher.with_inputs(restored).bench_local_values(|mut bench| {
        let outcome = bench.lock(0, 0, held(length - 1), Some(true));
        assert!(matches!(outcome, Outcome::Deadlock { .. }));
        bench
    });
}

/// As the first, but that the chain ends at owner 2: the request begins to wait, and is taken back. Four
/// steps, of which one searches.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 100, sample_size = 1)]
fn no_deadlock_chain(bencher: Bencher, length: u64) {
    let owners = usize::try_from(length).unwrap();
    let mut bench = Bench::filled(owners, 1, length + 1);
    for n in 3..owners {
        assert_eq!(bench.lock(n, 0, held(n as u64 - 1), Some(false)), Outcome::Blocked);
    }
    bencher.bench_local(|| {
        // Owner 0 has somebody wait for it, so that it must be looked for.
        bench.lock(1, 0, held(0), Some(false));
        assert_eq!(bench.lock(0, 0, held(length - 1), Some(true)), Outcome::Blocked);
        bench.unlock(0, 0, held(length - 1));
        bench.unlock(1, 0, held(0));
    });
}

/// A lock passes to the first of so many who wait for the same range, who acknowledges; the one who
/// had it asks again. Three steps.
#[divan::bench(args = [10, 1_000, 10_000], sample_count = 100, sample_size = 10)]
fn hand_over(bencher: Bencher, waiters: u64) {
    let owners = usize::try_from(waiters).unwrap() + 1;
    let mut bench = Bench::new(owners);
    bench.lock(0, 0, held(0), None);
    for n in 1..owners {
        bench.lock(n, 0, held(0), Some(false));
    }
    let mut holder = 0;
    let mut seq = 0;
    bencher.bench_local(|| {
        bench.unlock(holder, 0, held(0));
        let waiter = WaiterId(seq);
        bench.step(Input::GrantOutcome { waiter, outcome: GrantAck::Accepted });
        assert_eq!(bench.lock(holder, 0, held(0), Some(false)), Outcome::Blocked);
        holder = (holder + 1) % owners;
        seq += 1;
    });
}

/// A table of a million locks made of its records, on one file or many.
#[divan::bench(args = [1, 10_000], sample_count = 3, sample_size = 1)]
fn restore(bencher: Bencher, files: u64) {
    let bench = Bench::filled(1_000, usize::try_from(files).unwrap(), 1_000_000 / files);
    let config = bench.config.clone();
    let mut records: Vec<_> = bench.core.records().map(|r| (r.key(), r)).collect();
    records.sort_by(|a, b| a.0.cmp(&b.0));
    bencher
        .with_inputs(|| records.iter().map(|(_, record)| record.clone()).collect::<Vec<_>>())
        .bench_local_values(|records| Core::restore(config.clone(), 0, records, 90_000, true));
}
