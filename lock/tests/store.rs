//! The memory store: that it is a store, and that it dies as it is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use cleat_lock::store::{Crash, MemoryStore, conformance};
use cleat_lock::{ClientRecord, Durability, Query, Record, RecordOp, Store, StoreError};

fn client(number: u32) -> Record {
    let (client_id, contact) = (Arc::from(format!("c{number}")), Arc::from(&b""[..]));
    Record::Client(ClientRecord { client_id, incarnation: number, contact, since_ms: 0 })
}

fn filled() -> MemoryStore {
    let store = MemoryStore::new();
    store.put(client(0), Durability::Machine).unwrap();
    for number in 1..4 {
        store.put(client(number), Durability::Process).unwrap();
    }
    store
}

fn count(store: &MemoryStore) -> usize {
    store.list(&Query::All).unwrap().len()
}

#[test]
fn the_memory_store_is_a_store() {
    let reopen = |store: Box<MemoryStore>| {
        store.crash(Crash::Process);
        store
    };
    conformance::run(|| Box::new(MemoryStore::new()), reopen);
}

#[test]
fn the_process_dies_and_nothing_is_lost() {
    let store = filled();
    store.crash(Crash::Process);
    assert_eq!(count(&store), 4);
}

#[test]
fn the_machine_dies_and_loses_the_last_batches_since_a_sync() {
    for kept in 0..=3 {
        let store = filled();
        assert_eq!(store.unsynced(), 3);
        store.crash(Crash::Machine { kept });
        assert_eq!(count(&store), 1 + kept);
    }
    let store = filled();
    store.put(client(9), Durability::Machine).unwrap();
    store.crash(Crash::Machine { kept: 0 });
    assert_eq!(count(&store), 5, "a sync holds what came before it");
}

#[test]
fn a_frozen_store_takes_nothing_until_it_has_crashed() {
    let store = filled();
    store.freeze_after(1);
    store.put(client(4), Durability::Process).unwrap();
    let batch = [RecordOp::Put(client(5)), RecordOp::Put(client(6))];
    let failed = store.commit(&batch, Durability::Process);
    assert_eq!(failed, Err(StoreError::Failed("frozen".to_owned())));
    assert_eq!(count(&store), 5);
    store.crash(Crash::Process);
    store.put(client(5), Durability::Process).unwrap();
    assert_eq!(count(&store), 6);
}
