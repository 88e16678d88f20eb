//! Records as bytes: they survive, they sort, and damage is an error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{
    Access, ClientRecord, Granted, LockId, LockRecord, Mode, Range, Record, RecordError, RecordKey,
    ShareRecord, Table, Undo, WaiterId, WaiterRecord,
};
use common::{Desk, S, X, bytes, file, owner};
use proptest::prelude::*;
use uuid::Uuid;

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(S), Just(X)]
}

fn range() -> impl Strategy<Value = Range> {
    (any::<u64>(), any::<u64>()).prop_map(|(a, b)| bytes(a.min(b), a.max(b)))
}

fn raw(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

fn lock_id(number: u128) -> LockId {
    LockId::new(Uuid::from_u128(number))
}

fn lock_record() -> impl Strategy<Value = Record> {
    let numbers = (any::<u128>(), any::<u32>(), any::<u64>());
    ("\\PC{0,20}", raw(20), range(), mode(), numbers, any::<(bool, bool)>()).prop_map(
        |(name, on, range, mode, (id, incarnation, acquired_ms), (blocking, reclaim))| {
            Record::Lock(LockRecord {
                id: lock_id(id),
                owner: owner(&name),
                file: cleat_lock::FileId::new(on),
                range,
                mode,
                incarnation,
                acquired_ms,
                blocking,
                reclaim,
            })
        },
    )
}

fn granted() -> impl Strategy<Value = Granted> {
    let cuts = prop::collection::btree_set(0u64..1_000, 0..12);
    let held = prop::option::of((mode(), any::<u32>()));
    (cuts, any::<u32>(), held).prop_map(|(cuts, ids_used, held)| {
        let cuts: Vec<u64> = cuts.into_iter().collect();
        let pairs = cuts.chunks_exact(2);
        let undo = pairs.map(|pair| Undo { range: bytes(pair[0], pair[1]), held }).collect();
        Granted { ids_used, undo }
    })
}

fn waiter_record() -> impl Strategy<Value = Record> {
    let times = (any::<u64>(), any::<u64>(), any::<u64>());
    let numbers = (any::<u64>(), any::<u128>(), any::<u32>(), times);
    let granted = prop::option::of(granted());
    ("\\PC{0,20}", raw(20), mode(), numbers, raw(40), granted).prop_map(
        |(name, on, mode, (waiter, id, incarnation, times), context, granted)| {
            let (queued_ms, silence_ms, timeout_ms) = times;
            Record::Waiter(WaiterRecord {
                waiter: WaiterId(waiter),
                id: lock_id(id),
                owner: owner(&name),
                file: cleat_lock::FileId::new(on),
                range: bytes(0, 1_000),
                mode,
                incarnation,
                queued_ms,
                silence_ms,
                timeout_ms,
                find_deadlock: id % 2 == 0,
                upgrade: id % 3 == 0,
                context: Arc::from(context),
                granted,
            })
        },
    )
}

fn share_record() -> impl Strategy<Value = Record> {
    let access = || prop::sample::select(&Access::ALL[..]);
    let numbers = (any::<u32>(), any::<u64>(), any::<bool>());
    ("\\PC{0,20}", raw(20), access(), access(), numbers).prop_map(
        |(name, on, access, deny, (incarnation, acquired_ms, reclaim))| {
            let (owner, file) = (owner(&name), cleat_lock::FileId::new(on));
            Record::Share(ShareRecord {
                owner,
                file,
                access,
                deny,
                incarnation,
                acquired_ms,
                reclaim,
            })
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let client = ("\\PC{0,20}", any::<u32>(), raw(40), any::<u64>());
    let client = client.prop_map(|(name, incarnation, contact, since_ms)| {
        let (client_id, contact) = (Arc::from(name), Arc::from(contact));
        Record::Client(ClientRecord { client_id, incarnation, contact, since_ms })
    });
    prop_oneof![lock_record(), waiter_record(), client, share_record()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_survives(record in record()) {
        let (key, value) = (record.key(), record.encode());
        prop_assert_eq!(Record::decode(&key, &value), Ok(record.clone()));
        prop_assert_eq!(RecordKey::from_bytes(&key), Ok(record.record_key()));
        prop_assert_eq!(key, record.record_key().to_bytes());
    }

    #[test]
    fn a_record_cut_short_or_prolonged_is_refused(record in record(), at in any::<prop::sample::Index>()) {
        let (key, mut value) = (record.key(), record.encode());
        prop_assert!(Record::decode(&key, &value[..at.index(value.len())]).is_err());
        value.push(0);
        prop_assert_eq!(Record::decode(&key, &value), Err(RecordError::Trailing));
    }

    #[test]
    fn damage_never_panics(
        record in record(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        junk in raw(60),
    ) {
        let (mut key, mut value) = (record.key(), record.encode());
        let (in_key, in_value) = (at.index(key.len()), at.index(value.len()));
        value[in_value] = to;
        // What is accepted is a record like any other: it has one form.
        if let Ok(read) = Record::decode(&key, &value) {
            prop_assert_eq!(read.encode(), value.clone());
        }
        key[in_key] = to;
        if let Ok(read) = Record::decode(&key, &value) {
            prop_assert_eq!((read.key(), read.encode()), (key, value));
        }
        let _ = Record::decode(&junk, &junk);
        let _ = Record::decode(&record.key(), &junk);
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    let (key, mut value) = desk.image.pop_first().unwrap();
    value[0] = 9;
    assert_eq!(Record::decode(&key, &value), Err(RecordError::Version(9)));
    assert_eq!(Record::decode(&key, &[]), Err(RecordError::Truncated));
}

#[test]
fn keys_sort_by_table_then_file() {
    let lock = |name: &str, id| RecordKey::Lock { file: file(name), id: lock_id(id) }.to_bytes();
    let waiter =
        |name: &str, id| RecordKey::Waiter { file: file(name), waiter: WaiterId(id) }.to_bytes();
    let client = RecordKey::Client { client_id: Arc::from("a") }.to_bytes();
    let share = RecordKey::Share { file: file("b"), owner_id: Arc::from("a") }.to_bytes();
    let (waiters, locks) = ([waiter("a", 3), waiter("a", 256)], [lock("b", 1), lock("b", 2)]);
    let keys = [&[lock("a", 9)][..], &locks, &waiters, &[client, share]].concat();
    assert!(keys.is_sorted());
    let prefix = RecordKey::file_prefix(Table::Locks, &file("b"));
    assert_eq!(keys.iter().filter(|key| key.starts_with(&prefix)).count(), 2);
    // A file's name is no prefix of another's.
    assert!(!lock("bb", 1).starts_with(&prefix));
}

#[test]
fn a_lock_record_is_small() {
    let mut desk = Desk::new();
    desk.lock("client1/123", bytes(4_096, 8_191), X);
    let (key, value) = desk.image.pop_first().unwrap();
    assert!(key.len() + value.len() < 96, "{} + {}", key.len(), value.len());
}
