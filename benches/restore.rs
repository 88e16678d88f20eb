//! How long a server with a million recorded locks takes until it has its table again: reading the
//! store, and making a core of what it read. `scripts/bench/lock restore` runs this.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::sync::Arc;

use cleat::store::Store;
use cleat_lock::{
    Config, Core, Durability, FileId, LockId, LockRecord, Mode, Owner, Range, Record, RecordOp,
    Store as _,
};
use divan::Bencher;

const LOCKS: u64 = 1_000_000;
/// Records written together.
const BATCH: u64 = 10_000;

fn main() {
    divan::main();
}

/// Lock number `n`, of a thousand owners of ten clients, on one of `files` files.
fn record(n: u64, files: u64) -> Record {
    let owner = n % 1_000;
    Record::Lock(LockRecord {
        id: LockId::new(uuid::Uuid::from_u128(u128::from(n) << 64)),
        owner: Owner {
            owner_id: Arc::from(format!("nlm:client{}.example:{owner}", owner / 100)),
            client_id: Arc::from(format!("client{}.example", owner / 100)),
            share_name: Arc::from("/export/data"),
            note: Arc::from(format!("{owner}@client").as_bytes()),
        },
        file: FileId::new([&[1, 16, 0, 0][..], &(n % files).to_be_bytes()[..]].concat()),
        range: Range::new(n * 16, 4).unwrap(),
        mode: Mode::Exclusive,
        incarnation: 3,
        acquired_ms: 1_000,
        blocking: false,
        reclaim: false,
    })
}

/// Opening the store and restoring the core, the locks spread over so many files.
#[divan::bench(args = [1, 10_000], sample_count = 3, sample_size = 1)]
fn from_store(bencher: Bencher, files: u64) {
    let home = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(home.path()).unwrap();
    for batch in 0..LOCKS / BATCH {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let ops: Vec<RecordOp> = numbers.map(|n| RecordOp::Put(record(n, files))).collect();
        store.commit(&ops, Durability::Process).unwrap();
    }
    drop(store);
    bencher.bench_local(|| {
        let (store, records) = Store::open(home.path()).unwrap();
        let core = Core::restore(Config::default(), 2_000, records, 90_000, true);
        assert_eq!(core.counters().locks, LOCKS);
        (store, core)
    });
}
