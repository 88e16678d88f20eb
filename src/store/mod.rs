//! What must outlive the process: lock records, the server's own identity, handles.
//!
//! RocksDB is named here and nowhere else. One process at a time has a state directory open.

mod directory;
mod identity;
mod monitors;

use std::io;
use std::path::{Path, PathBuf};

use cleat_lock::{Durability, Epoch, Query, Record, RecordKey, RecordOp, Table};
use rocksdb::{
    ColumnFamily, DB, DBRecoveryMode, Direction, IteratorMode, LogLevel, Options, WriteBatch,
    WriteOptions,
};

use crate::vfs::local::HandleTable;
pub use identity::Identity;

/// The format of the records. A store of a higher one is refused.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
/// Lock, waiter and client records, under the keys that the lock core gives them.
const LOCKS: &str = "locks";
/// Handles of file systems that have none of their own.
const HANDLES: &str = "handles";

/// Why the store cannot be used. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the state directory.
    #[error(
        "state directory {0} is in use by another server{1}; stop that one, or give this one its own with --state-dir"
    )]
    Busy(PathBuf, String),
    /// The store was written by a newer Cleat.
    #[error(
        "state directory {path} is of format {found} and this version knows up to {FORMAT}: run the version that wrote it, or give another directory with --state-dir"
    )]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Something in the store is not what was written.
    #[error(
        "state directory {path} is damaged ({what}); nothing was changed in it: restore it, or move it away to start without the locks on record"
    )]
    Damaged {
        /// The state directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The disk or RocksDB failed.
    #[error("state directory {path}: {what}")]
    Failed {
        /// The state directory.
        path: PathBuf,
        /// What failed.
        what: String,
    },
}

/// An open state directory.
pub struct Store {
    db: DB,
    path: PathBuf,
    // Keeps other processes out for as long as the store is open.
    _lock: directory::Lock,
}

impl Store {
    /// Opens the state directory, or makes it where there is none, and returns it with every
    /// record, in the order of its key. All of it is read before anything is opened for writing,
    /// so what is newer or damaged is left as it was found.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), StoreError> {
        let lock = directory::lock(path)?;
        let failed = |error: std::io::Error| StoreError::Failed {
            path: path.to_owned(),
            what: error.to_string(),
        };
        let home = path.join("db");
        if directory::is_new(&home).map_err(failed)? {
            // A store appears whole or not at all, even if we die while we make it.
            let fresh = path.join("db.new");
            directory::remove(&fresh).map_err(failed)?;
            directory::private(&fresh).map_err(failed)?;
            create(&fresh).map_err(|error| translate(path, &error))?;
            std::fs::rename(&fresh, &home).map_err(failed)?;
            directory::sync(path).map_err(failed)?;
        }
        check_format(path, &home)?;
        let records = read_through(path, &home)?;
        let db = DB::open_cf(&options(false), &home, [LOCKS, HANDLES])
            .map_err(|error| translate(path, &error))?;
        Ok((Self { db, path: path.to_owned(), _lock: lock }, records))
    }

    /// Brings everything to the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|error| translate(&self.path, &error))
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|error| translate(&self.path, &error))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map_err(|error| translate(&self.path, &error))
    }

    fn put_synced(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), StoreError> {
        self.put(pairs, true)
    }

    fn put(&self, pairs: &[(&[u8], &[u8])], sync: bool) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        pairs.iter().for_each(|(key, value)| batch.put(key, value));
        self.write(batch, sync)
    }

    /// The lock records whose keys begin with `prefix`.
    fn scan(&self, prefix: &[u8], found: &mut Vec<Record>) -> Result<(), StoreError> {
        let from = IteratorMode::From(prefix, Direction::Forward);
        for item in self.db.iterator_cf(self.family(LOCKS), from) {
            let (key, value) = item.map_err(|error| translate(&self.path, &error))?;
            if !key.starts_with(prefix) {
                break;
            }
            let record = Record::decode(&key, &value);
            found.push(record.map_err(|error| self.damaged(format!("a lock record: {error}")))?);
        }
        Ok(())
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what }
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("opened with every family")
    }
}

impl From<StoreError> for cleat_lock::StoreError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Damaged { .. } | StoreError::Newer { .. } => Self::Damaged(text),
            StoreError::Busy(..) | StoreError::Failed { .. } => Self::Failed(text),
        }
    }
}

impl cleat_lock::Store for Store {
    fn commit(
        &self,
        ops: &[RecordOp],
        durability: Durability,
    ) -> Result<(), cleat_lock::StoreError> {
        let locks = self.family(LOCKS);
        let mut batch = WriteBatch::default();
        for op in ops {
            match op {
                RecordOp::Put(record) => batch.put_cf(locks, record.key(), record.encode()),
                RecordOp::Delete(key) => batch.delete_cf(locks, key.to_bytes()),
            }
        }
        Ok(self.write(batch, durability == Durability::Machine)?)
    }

    /// A file's records are one range of keys each for locks, waiters and shares, in this order. For
    /// a client or an owner everything is read: nobody asks that of a running server, which knows by
    /// itself.
    fn list(&self, query: &Query<'_>) -> Result<Vec<Record>, cleat_lock::StoreError> {
        let mut found = Vec::new();
        if let Query::File(file) = query {
            self.scan(&RecordKey::file_prefix(Table::Locks, file), &mut found)?;
            self.scan(&RecordKey::file_prefix(Table::Waiters, file), &mut found)?;
            self.scan(&RecordKey::file_prefix(Table::Shares, file), &mut found)?;
        } else {
            self.scan(&[], &mut found)?;
            found.retain(|record| query.wants(record));
        }
        Ok(found)
    }

    fn epoch(&self) -> Result<u64, cleat_lock::StoreError> {
        Ok(self.latest_epoch()?)
    }

    fn next_epoch(&self, survived: bool) -> Result<Epoch, cleat_lock::StoreError> {
        Ok(self.step_epoch(survived, &[])?)
    }

    fn settle(&self) -> Result<(), cleat_lock::StoreError> {
        Ok(self.note_settled()?)
    }
}

impl HandleTable for Store {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(HANDLES), key).map_err(io::Error::other)
    }

    fn write(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> io::Result<()> {
        let handles = self.family(HANDLES);
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put_cf(handles, key, value),
                None => batch.delete_cf(handles, key),
            }
        }
        self.db.write(batch).map_err(io::Error::other)
    }
}

fn options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    // What the tail lacks after a power cut was never synced; anything else missing is damage.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Its log is a file beside the data. On a full disk the second line that it cannot write ends
    // the process by an assertion, where RocksDB was built with them as Debian's is (7.8,
    // writable_file_writer.h), and such a disk gives it much to say. What fails is told to us.
    options.set_log_level(LogLevel::Fatal);
    options.set_keep_log_file_num(2);
    options.set_max_background_jobs(2);
    options.set_max_total_wal_size(64 << 20);
    options
}

fn create(home: &Path) -> Result<(), rocksdb::Error> {
    let db = DB::open_cf(&options(true), home, [LOCKS, HANDLES])?;
    let mut sync = WriteOptions::default();
    sync.set_sync(true);
    db.put_opt(FORMAT_KEY, FORMAT.to_be_bytes(), &sync)
}

/// Reads the format before anything is opened for writing: a newer one may have column families
/// that we do not know.
fn check_format(path: &Path, home: &Path) -> Result<(), StoreError> {
    let db = DB::open_for_read_only(&options(false), home, false)
        .map_err(|error| translate(path, &error))?;
    let value = db.get(FORMAT_KEY).map_err(|error| translate(path, &error))?;
    let damaged = |what: &str| StoreError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let bytes = value.ok_or_else(|| damaged("its format is not on record"))?;
    let format = bytes.try_into().map(u32::from_be_bytes).map_err(|_| damaged("its format"))?;
    match format {
        1..=FORMAT => Ok(()),
        found => Err(StoreError::Newer { path: path.to_owned(), found }),
    }
}

/// Reads everything there is, and returns the lock records.
fn read_through(path: &Path, home: &Path) -> Result<Vec<Record>, StoreError> {
    let failed = |error| translate(path, &error);
    let db = DB::open_cf_for_read_only(&options(false), home, [LOCKS, HANDLES], false)
        .map_err(failed)?;
    let family = |name| db.cf_handle(name).expect("opened with every family");
    for item in db.iterator_cf(family(HANDLES), IteratorMode::Start) {
        item.map_err(failed)?;
    }
    let mut records = Vec::new();
    for item in db.iterator_cf(family(LOCKS), IteratorMode::Start) {
        let (key, value) = item.map_err(failed)?;
        let record = Record::decode(&key, &value).map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            what: format!("a lock record: {error}"),
        })?;
        records.push(record);
    }
    Ok(records)
}

fn translate(path: &Path, error: &rocksdb::Error) -> StoreError {
    let (path, what) = (path.to_owned(), error.to_string());
    match error.kind() {
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => {
            StoreError::Damaged { path, what }
        }
        // A file that is gone is an I/O error to RocksDB.
        rocksdb::ErrorKind::IOError if what.contains("No such file") => {
            StoreError::Damaged { path, what }
        }
        _ => StoreError::Failed { path, what },
    }
}
