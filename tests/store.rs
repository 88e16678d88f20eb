//! The state directory: what survives, who may open it, and what damage is answered with.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cleat::store::{Store, StoreError};
use cleat_lock::{ClientRecord, Durability, Record, RecordOp, Store as _};
use tempfile::TempDir;

fn client(number: u32) -> Record {
    Record::Client(ClientRecord {
        client_id: format!("nlm:host{number:05}@10.0.0.1").into(),
        incarnation: number,
        contact: Arc::from(&b"how to reach it"[..]),
        since_ms: 7,
    })
}

fn fill(path: &Path, count: u32) -> Vec<Record> {
    let (store, _) = Store::open(path).expect("a new store");
    let records: Vec<Record> = (0..count).map(client).collect();
    let ops: Vec<RecordOp> = records.iter().cloned().map(RecordOp::Put).collect();
    store.commit(&ops, Durability::Machine).expect("written");
    records
}

/// Every file below, with its content: to see that nothing was changed.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        // RocksDB's log for people is no data.
        .filter(|path| !path.file_name().expect("a name").to_string_lossy().starts_with("LOG"))
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect();
    files.sort();
    files
}

fn file_of(directory: &Path, ending: &str) -> PathBuf {
    let mut found = contents(directory).into_iter().map(|(path, _)| path);
    found.rfind(|path| path.to_string_lossy().ends_with(ending)).expect("such a file")
}

#[test]
fn records_are_read_as_they_were_written() {
    let directory = TempDir::new().expect("a directory");
    let records = fill(directory.path(), 100);
    let (store, read) = Store::open(directory.path()).expect("an old store");
    assert_eq!(read, records);
    store
        .commit(&[RecordOp::Delete(records[0].record_key())], Durability::Process)
        .expect("deleted");
    drop(store);
    let (_, read) = Store::open(directory.path()).expect("an old store");
    assert_eq!(read, records[1..]);
}

#[test]
fn each_instance_has_the_next_odd_state_and_the_same_key() {
    let directory = TempDir::new().expect("a directory");
    let mut instances = Vec::new();
    for _ in 0..3 {
        let (store, _) = Store::open(directory.path()).expect("a store");
        instances.push(store.new_instance(false).expect("an instance"));
    }
    let states: Vec<i32> = instances.iter().map(|each| each.nsm_state).collect();
    assert_eq!(states, [1, 3, 5]);
    assert_eq!(instances[0].handle_key, instances[2].handle_key);
    let numbers: Vec<u64> = instances.iter().map(|each| each.epoch.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn what_was_lost_makes_the_records_advice_until_a_window_was_held_to_its_end() {
    let directory = TempDir::new().expect("a directory");
    let (store, _) = Store::open(directory.path()).expect("a store");
    let exact = |store: &Store| store.new_instance(false).expect("an instance").epoch.exact;
    assert!(!exact(&store), "nobody knows where the directory comes from");
    assert!(!exact(&store), "killed before its window ended");
    store.settle().expect("written");
    assert!(exact(&store));
    assert!(exact(&store), "an exact window that is cut off is held again, exact");
}

#[test]
fn the_store_is_a_store_of_lock_records() {
    let open = |directory: TempDir| {
        let (store, _) = Store::open(directory.path()).expect("a store");
        Kept { store, directory }
    };
    let make = || open(TempDir::new().expect("a directory"));
    let reopen = |Kept { store, directory }: Kept| {
        drop(store);
        open(directory)
    };
    cleat_lock::store::conformance::run(make, reopen);
}

/// A store whose directory goes with it.
struct Kept {
    store: Store,
    directory: TempDir,
}

impl std::ops::Deref for Kept {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

#[test]
fn a_second_server_is_refused_and_told_who_has_it() {
    let directory = TempDir::new().expect("a directory");
    let first = Store::open(directory.path()).expect("a store");
    let error = Store::open(directory.path()).err().expect("refused");
    let text = error.to_string();
    assert!(matches!(error, StoreError::Busy(..)), "{text}");
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    drop(first);
    Store::open(directory.path()).expect("free again");
}

#[test]
fn a_store_of_a_newer_version_is_refused_untouched() {
    let directory = TempDir::new().expect("a directory");
    fill(directory.path(), 3);
    {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let home = directory.path().join("db");
        let families = ["locks", "handles", "leases"];
        let db = rocksdb::DB::open_cf(&options, home, families).expect("opened");
        db.put("format", 2_u32.to_be_bytes()).expect("written");
    }
    let before = contents(&directory.path().join("db"));
    let error = Store::open(directory.path()).err().expect("refused");
    assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
    assert_eq!(contents(&directory.path().join("db")), before);
}

#[test]
fn damage_is_told_and_never_written_over() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 5] = [
        ("a table is gone", |home| fs::remove_file(file_of(home, ".sst")).expect("removed")),
        ("a table is altered", |home| {
            let path = file_of(home, ".sst");
            let file = fs::OpenOptions::new().write(true).open(path).expect("opened");
            file.write_all_at(&[0xff; 8], 100).expect("written");
        }),
        ("CURRENT is gone", |home| fs::remove_file(home.join("CURRENT")).expect("removed")),
        ("CURRENT is altered", |home| fs::write(home.join("CURRENT"), "x").expect("written")),
        ("the manifest is gone", |home| {
            let name = fs::read_to_string(home.join("CURRENT")).expect("read");
            fs::remove_file(home.join(name.trim())).expect("removed");
        }),
    ];
    for (what, damage) in damages {
        let directory = TempDir::new().expect("a directory");
        fill(directory.path(), 1000);
        // A second opening moves the records from the log to a table.
        drop(Store::open(directory.path()).expect("an old store"));
        let home = directory.path().join("db");
        damage(&home);
        let before = contents(&home);
        let error = Store::open(directory.path()).err().unwrap_or_else(|| panic!("{what}: opened"));
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        let lost: Vec<_> =
            before.iter().filter(|(path, old)| fs::read(path).ok().as_ref() != Some(old)).collect();
        assert!(
            lost.is_empty(),
            "{what}: changed {:?}",
            lost.iter().map(|l| &l.0).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_start_that_was_cut_off_is_begun_again() {
    let directory = TempDir::new().expect("a directory");
    fs::create_dir_all(directory.path().join("db.new/half")).expect("made");
    fill(directory.path(), 3);
    let (_, records) = Store::open(directory.path()).expect("an old store");
    assert_eq!(records.len(), 3);
}

#[test]
fn nobody_else_may_look_into_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().expect("a directory");
    // As a service manager may have made it.
    let path = directory.path().join("state");
    fs::create_dir(&path).expect("made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    fill(&path, 3);
    for entry in fs::read_dir(&path).expect("a directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("attributes").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.path());
    }
}
