//! Files that are held open for writing, so that COMMIT learns of every failed write-back.
//!
//! Linux counts the write-back errors of a file and tells each open file of an error once, at its
//! next sync: of those that came after it was opened. What is opened later is told of an error only
//! if nobody was told yet, and only while the inode stays in memory. So a WRITE that is not stable
//! goes through a descriptor that is held until a sync of just that descriptor said that all is on
//! storage, and COMMIT syncs that one. An error changes the file system's write verifier before any
//! other COMMIT of the file may answer: syncs of one file go one after another.
//!
//! Held are [`OPEN_FILES_MAX`] at the most, each for [`IDLE`] after its last use; what is let go is
//! synced before, unless it is clean or removed. A removed file is let go at once where it is
//! removed through this server, else by the next [`OpenFiles::tidy`].

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stat::{self, Stat};
use crate::seldom::limited;
use crate::vfs::{Result, WriteVerifier};

/// The most files of one export that are held open; the one unused for longest makes room.
pub const OPEN_FILES_MAX: usize = 256;
/// How long a file is held open after its last use, and how long it can so keep the file system
/// from being unmounted.
pub const IDLE: Duration = Duration::from_secs(30);

/// Device and inode number: nobody else gets them while the file is open.
type Key = (u64, u64);

/// A file that is held open.
pub(super) struct OpenFile {
    fd: OwnedFd,
    /// Whether anything was written since the last sync began.
    dirty: AtomicBool,
    /// Held while it is synced, until the verifier says what came of it.
    syncing: Mutex<()>,
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OpenFile {
    /// To be called before something is written that is not stable.
    pub(super) fn will_write(&self) {
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// Brings it to storage. What fails changes the verifier; gives the verifier after that.
    pub(super) fn sync(&self, verifier: &WriteVerifier) -> Result<[u8; 8]> {
        let _others_wait = lock(&self.syncing);
        self.dirty.store(false, Ordering::SeqCst);
        sync_or_change(&self.fd, verifier)
    }

    fn is_clean(&self) -> bool {
        !self.dirty.load(Ordering::SeqCst)
    }

    fn is_removed(&self) -> bool {
        stat::stat(&self.fd).is_ok_and(|stat| stat.attributes.links == 0)
    }
}

/// Syncs a descriptor that nobody else syncs meanwhile; gives the verifier after that.
fn sync_or_change(fd: impl AsFd, verifier: &WriteVerifier) -> Result<[u8; 8]> {
    if let Err(errno) = rustix::fs::fsync(fd) {
        limited!(error, %errno, "storage failed: clients are to write again");
        verifier.change();
        return Err(errno.into());
    }
    Ok(verifier.get())
}

#[derive(Default)]
struct Table {
    files: HashMap<Key, Entry>,
    /// By last use, the earliest first.
    order: BTreeMap<u64, Key>,
    uses: u64,
}

struct Entry {
    file: Arc<OpenFile>,
    used: u64,
    used_at: Instant,
}

/// All that are held open.
#[derive(Default)]
pub(super) struct OpenFiles {
    table: Mutex<Table>,
    /// One of them is held while a file that is not held open is synced.
    other_syncs: [Mutex<()>; 16],
}

impl OpenFiles {
    /// The file, if it is held open.
    pub(super) fn get(&self, stat: &Stat) -> Option<Arc<OpenFile>> {
        lock(&self.table).touch(key(stat))
    }

    /// Holds a file open through `fd`, unless it is already. Where that is one too many, another is
    /// synced and let go first.
    pub(super) fn hold(&self, stat: &Stat, fd: OwnedFd, verifier: &WriteVerifier) -> Arc<OpenFile> {
        if let Some(file) = self.get(stat) {
            return file;
        }
        while lock(&self.table).files.len() >= OPEN_FILES_MAX && self.let_earliest_go(verifier) {}
        let mut table = lock(&self.table);
        if let Some(file) = table.touch(key(stat)) {
            return file;
        }
        let file =
            Arc::new(OpenFile { fd, dirty: AtomicBool::new(false), syncing: Mutex::default() });
        table.insert(key(stat), Arc::clone(&file));
        file
    }

    /// Syncs a file that is not held open, through a descriptor of the caller's.
    pub(super) fn sync_other(
        &self,
        stat: &Stat,
        fd: impl AsFd,
        verifier: &WriteVerifier,
    ) -> Result<[u8; 8]> {
        let turn = stat.attributes.fileid % self.other_syncs.len() as u64;
        let _others_wait = lock(&self.other_syncs[usize::try_from(turn).unwrap_or(0)]);
        sync_or_change(fd, verifier)
    }

    /// Lets a file go that is removed, so that its space is free.
    pub(super) fn drop_removed(&self, stat: &Stat) {
        let gone = lock(&self.table).remove(key(stat));
        drop(gone);
    }

    /// Whether nothing is held open.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.table).files.is_empty()
    }

    /// Lets go what was not used for long or is removed. To be called every few seconds.
    pub(super) fn tidy(&self, verifier: &WriteVerifier, now: Instant) {
        let all: Vec<(Key, Arc<OpenFile>, Instant)> = {
            let table = lock(&self.table);
            let all = table.files.iter();
            all.map(|(key, entry)| (*key, Arc::clone(&entry.file), entry.used_at)).collect()
        };
        for (key, file, used_at) in all {
            if file.is_removed() {
                drop(lock(&self.table).remove(key));
            } else if now.saturating_duration_since(used_at) >= IDLE {
                self.let_go(key, &file, verifier);
            }
        }
    }

    /// Lets the one go that is unused for longest; says whether there was one.
    fn let_earliest_go(&self, verifier: &WriteVerifier) -> bool {
        let found = {
            let table = lock(&self.table);
            let mut keys = table.order.values();
            keys.find_map(|key| {
                let file = &table.files.get(key)?.file;
                (Arc::strong_count(file) == 1).then(|| (*key, Arc::clone(file)))
            })
        };
        found.is_some_and(|(key, file)| self.let_go(key, &file, verifier))
    }

    /// Syncs a file and lets it go, unless it is in use; says whether it went. What a sync says here
    /// nobody hears, but the verifier tells it.
    fn let_go(&self, key: Key, file: &Arc<OpenFile>, verifier: &WriteVerifier) -> bool {
        if !file.is_clean() {
            let _ = file.sync(verifier);
        }
        let mut table = lock(&self.table);
        // The table's own and ours: who gets it from the table now would be a third.
        let gone =
            (file.is_clean() && Arc::strong_count(file) == 2).then(|| table.remove(key)).flatten();
        drop(table);
        gone.is_some()
    }
}

impl Table {
    fn touch(&mut self, key: Key) -> Option<Arc<OpenFile>> {
        let entry = self.files.get_mut(&key)?;
        self.uses += 1;
        self.order.remove(&entry.used);
        self.order.insert(self.uses, key);
        (entry.used, entry.used_at) = (self.uses, Instant::now());
        Some(Arc::clone(&entry.file))
    }

    fn insert(&mut self, key: Key, file: Arc<OpenFile>) {
        self.uses += 1;
        self.order.insert(self.uses, key);
        self.files.insert(key, Entry { file, used: self.uses, used_at: Instant::now() });
    }

    fn remove(&mut self, key: Key) -> Option<Arc<OpenFile>> {
        let entry = self.files.remove(&key)?;
        self.order.remove(&entry.used);
        Some(entry.file)
    }
}

fn key(stat: &Stat) -> Key {
    (stat.dev, stat.attributes.fileid)
}

/// What is guarded is whole between any two operations, so a panic elsewhere leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
