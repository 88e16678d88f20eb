//! What every store has to do, as one suite: [`run`] it on each implementation.
//!
//! Each claim is made of a fresh store. A claim that does not hold panics, as a test does.

use std::ops::Deref;
use std::sync::Arc;

use uuid::Uuid;

use super::{Durability, Epoch, Query, Store};
use crate::record::{
    ClientRecord, LockRecord, Record, RecordKey, RecordOp, ShareRecord, WaiterRecord,
};
use crate::types::{Access, FileId, LockId, Mode, Owner, Range, WaiterId};

/// Holds the store that `make` gives to every claim. `reopen` gives what the next process finds.
///
/// # Panics
/// Where a claim does not hold.
pub fn run<S: Store, D: Deref<Target = S>>(make: impl Fn() -> D, reopen: impl Fn(D) -> D) {
    empty_at_first(&*make());
    a_batch_is_carried_out_in_its_order(&*make());
    what_is_put_is_listed_in_the_order_of_keys(&*make());
    a_query_selects(&*make());
    nothing_of_another_file_is_listed(&*make());
    epochs_step_and_know_what_was_lost(&*make());
    what_was_committed_survives_the_process(make(), &reopen);
    epochs_survive_the_process(make(), &reopen);
}

fn owner(name: &str, client: &str) -> Owner {
    Owner {
        owner_id: Arc::from(name),
        client_id: Arc::from(client),
        share_name: Arc::from("share"),
        note: Arc::from(name.as_bytes()),
    }
}

fn lock(id: u128, file: &[u8], owner: &Owner) -> Record {
    Record::Lock(LockRecord {
        id: LockId::new(Uuid::from_u128(id)),
        owner: owner.clone(),
        file: FileId::new(file),
        range: Range::ALL,
        mode: Mode::Exclusive,
        incarnation: 3,
        acquired_ms: 5,
        blocking: false,
        reclaim: false,
    })
}

fn waiter(id: u64, file: &[u8], owner: &Owner) -> Record {
    Record::Waiter(WaiterRecord {
        waiter: WaiterId(id),
        id: LockId::new(Uuid::from_u128(u128::from(id))),
        owner: owner.clone(),
        file: FileId::new(file),
        range: Range::ALL,
        mode: Mode::Shared,
        incarnation: 3,
        queued_ms: 5,
        silence_ms: 6,
        timeout_ms: 0,
        find_deadlock: true,
        upgrade: false,
        context: Arc::from(&b"context"[..]),
        granted: None,
    })
}

fn share(file: &[u8], owner: &Owner) -> Record {
    Record::Share(ShareRecord {
        owner: owner.clone(),
        file: FileId::new(file),
        access: Access::Both,
        deny: Access::Write,
        incarnation: 3,
        acquired_ms: 5,
        reclaim: true,
    })
}

fn client(name: &str) -> Record {
    let (client_id, contact) = (Arc::from(name), Arc::from(&b"contact"[..]));
    Record::Client(ClientRecord { client_id, incarnation: 3, contact, since_ms: 5 })
}

fn put(store: &impl Store, records: &[Record]) {
    let ops: Vec<RecordOp> = records.iter().cloned().map(RecordOp::Put).collect();
    assert_eq!(store.commit(&ops, Durability::Process), Ok(()));
}

fn list(store: &impl Store, query: &Query<'_>) -> Vec<Record> {
    store.list(query).unwrap_or_else(|error| panic!("{query:?}: {error}"))
}

fn empty_at_first(store: &impl Store) {
    assert_eq!(list(store, &Query::All), []);
    assert_eq!(store.epoch(), Ok(0));
    assert_eq!(store.commit(&[], Durability::Machine), Ok(()), "an empty batch");
    let nobody = RecordKey::Client { client_id: Arc::from("nobody") };
    assert_eq!(store.delete(nobody, Durability::Process), Ok(()), "what is not there");
}

fn a_batch_is_carried_out_in_its_order(store: &impl Store) {
    let (one, two) = (client("one"), client("two"));
    let batch = [
        RecordOp::Put(one.clone()),
        RecordOp::Delete(one.record_key()),
        RecordOp::Delete(two.record_key()),
        RecordOp::Put(two.clone()),
    ];
    assert_eq!(store.commit(&batch, Durability::Machine), Ok(()));
    assert_eq!(list(store, &Query::All), std::slice::from_ref(&two));
    let Record::Client(mut newer) = two else { return };
    newer.incarnation += 2;
    let newer = Record::Client(newer);
    assert_eq!(store.put(newer.clone(), Durability::Process), Ok(()));
    assert_eq!(list(store, &Query::All), std::slice::from_ref(&newer), "over what was there");
    assert_eq!(store.delete(newer.record_key(), Durability::Process), Ok(()));
    assert_eq!(list(store, &Query::All), []);
}

fn what_is_put_is_listed_in_the_order_of_keys(store: &impl Store) {
    let who = owner("a/1", "a");
    let mut records: Vec<Record> = (0..300_u64).map(|n| waiter(n * 7, b"f", &who)).collect();
    records.extend((0..300_u128).map(|n| lock(n << 40, b"g", &who)));
    records.extend((0..300).map(|n| share(b"h", &owner(&format!("a/{}", n * 7), "a"))));
    records.extend(["z", "y", ""].map(client));
    put(store, &records);
    records.sort_by_key(Record::key);
    assert_eq!(list(store, &Query::All), records);
}

fn a_query_selects(store: &impl Store) {
    let (one, two, other) = (owner("a/1", "a"), owner("a/2", "a"), owner("a/1/x", "a/1"));
    let records = [
        lock(1, b"f", &one),
        lock(2, b"f", &other),
        lock(3, b"g", &two),
        waiter(4, b"f", &two),
        waiter(5, b"g", &one),
        client("a"),
        client("a/1"),
        share(b"f", &two),
        share(b"f", &other),
        share(b"g", &one),
    ];
    put(store, &records);
    let select = |picks: &[usize]| -> Vec<Record> {
        let mut picked: Vec<Record> = picks.iter().map(|&pick| records[pick].clone()).collect();
        picked.sort_by_key(Record::key);
        picked
    };
    assert_eq!(list(store, &Query::File(&FileId::new(*b"f"))), select(&[0, 1, 3, 7, 8]));
    assert_eq!(list(store, &Query::File(&FileId::new(*b"h"))), []);
    assert_eq!(list(store, &Query::Client("a")), select(&[0, 2, 3, 4, 5, 7, 9]));
    assert_eq!(list(store, &Query::Client("a/1")), select(&[1, 6, 8]));
    assert_eq!(list(store, &Query::Owner("a/1")), select(&[0, 4, 9]));
    assert_eq!(list(store, &Query::Owner("a")), []);
}

fn nothing_of_another_file_is_listed(store: &impl Store) {
    let who = owner("a/1", "a");
    let names: [&[u8]; 5] = [b"", b"\xff", b"\xff\xff", b"f", b"ff"];
    let of_file = |(name, id): (&&[u8], u64)| {
        [lock(id.into(), name, &who), waiter(id, name, &who), share(name, &who)]
    };
    let records: Vec<[Record; 3]> = names.iter().zip(1..).map(of_file).collect();
    put(store, records.as_flattened());
    for (name, records) in names.iter().zip(&records) {
        assert_eq!(list(store, &Query::File(&FileId::new(*name))), records);
    }
}

fn epochs_step_and_know_what_was_lost(store: &impl Store) {
    let next = |survived| {
        let epoch = store.next_epoch(survived);
        epoch.unwrap_or_else(|error| panic!("an epoch: {error}"))
    };
    assert_eq!(next(false), Epoch { number: 1, exact: false });
    assert_eq!(next(true), Epoch { number: 2, exact: false }, "advice stays advice");
    assert_eq!(store.settle(), Ok(()));
    assert_eq!(next(true), Epoch { number: 3, exact: true });
    assert_eq!(next(true), Epoch { number: 4, exact: true });
    assert_eq!(next(false), Epoch { number: 5, exact: false });
    assert_eq!(store.epoch(), Ok(5));
}

/// Also what was put over and deleted, and each batch as a whole.
fn what_was_committed_survives_the_process<S: Store, D: Deref<Target = S>>(
    store: D,
    reopen: &impl Fn(D) -> D,
) {
    let who = owner("a/1", "a");
    let mut records = vec![lock(1, b"f", &who), waiter(2, b"f", &who), share(b"f", &who)];
    records.push(client("a"));
    put(&*store, &records);
    let gone = lock(3, b"f", &who);
    put(&*store, std::slice::from_ref(&gone));
    let store = reopen(store);
    records.push(gone.clone());
    records.sort_by_key(Record::key);
    assert_eq!(list(&*store, &Query::All), records);
    assert_eq!(store.delete(gone.record_key(), Durability::Process), Ok(()));
    let store = reopen(store);
    records.retain(|record| *record != gone);
    assert_eq!(list(&*store, &Query::All), records);
}

fn epochs_survive_the_process<S: Store, D: Deref<Target = S>>(store: D, reopen: &impl Fn(D) -> D) {
    let next = |store: &D, survived| {
        let epoch = store.next_epoch(survived);
        epoch.unwrap_or_else(|error| panic!("an epoch: {error}"))
    };
    assert_eq!(next(&store, false), Epoch { number: 1, exact: false });
    let store = reopen(store);
    assert_eq!(store.epoch(), Ok(1));
    assert_eq!(next(&store, true), Epoch { number: 2, exact: false }, "advice stays advice");
    assert_eq!(store.settle(), Ok(()));
    let store = reopen(store);
    assert_eq!(next(&store, true), Epoch { number: 3, exact: true });
}
