//! What is kept of each handle where the kernel makes none: its file and the names it had.
//!
//! Two rows per file, under a prefix per tree: `h` id -> record, and `i` inode -> id, so that a
//! file keeps its handle however it is found.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::vfs::Timestamp;

/// The most names that are remembered of one file; its other hard links are found again when
/// somebody looks them up.
pub const HANDLE_NAMES_MAX: usize = 8;
/// The most records, and as many inode rows, that are kept in memory.
pub const HANDLE_CACHE_RECORDS_MAX: usize = 65_536;
/// The tree's root has no record.
pub(super) const ROOT_ID: u64 = 0;
const RECORD_VERSION: u8 = 1;

/// Where handles are kept. A change must survive the death of this process before `write`
/// returns; what a power failure takes of it, clients see as stale handles.
pub trait HandleTable: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Puts (`Some`) or deletes (`None`) each key: all of them or none.
    fn write(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> io::Result<()>;
}

/// A handle table that is gone with the process: for tests, and for trees that are as well.
#[derive(Debug, Default)]
pub struct MemoryHandleTable(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl HandleTable for MemoryHandleTable {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn write(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> io::Result<()> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }
}

/// A file, however it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InodeKey {
    /// The device; 0 is that of the root, whatever number it has at this boot.
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// When it was made, to tell it from another that got its number later. That fails where the
    /// first was removed by somebody else and the file system keeps no births, or within one tick
    /// of the kernel's clock.
    pub(super) born: Timestamp,
}

impl InodeKey {
    pub(super) const BYTES: usize = 28;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.dev.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.ino.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.born.seconds.to_be_bytes());
        bytes[24..].copy_from_slice(&self.born.nanoseconds.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(number)
        };
        let nanoseconds = [bytes[24], bytes[25], bytes[26], bytes[27]];
        let born = Timestamp {
            seconds: number(16).cast_signed(),
            nanoseconds: u32::from_be_bytes(nanoseconds),
        };
        Self { dev: number(0), ino: number(8), born }
    }
}

/// A name in a directory that has a handle itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parent: u64,
    pub(super) name: Box<[u8]>,
}

/// What is known of a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) inode: InodeKey,
    /// Where it was seen, the last place first.
    pub(super) places: Vec<Place>,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![RECORD_VERSION];
        bytes.extend(self.inode.to_bytes());
        for place in &self.places {
            bytes.extend(place.parent.to_be_bytes());
            bytes.extend(u16::try_from(place.name.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(&place.name);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut take = |count: usize| {
            let (head, tail) = rest.split_at_checked(count)?;
            rest = tail;
            Some(head)
        };
        if take(1)? != [RECORD_VERSION] {
            return None;
        }
        let inode = InodeKey {
            dev: u64::from_be_bytes(take(8)?.try_into().ok()?),
            ino: u64::from_be_bytes(take(8)?.try_into().ok()?),
            born: Timestamp {
                seconds: i64::from_be_bytes(take(8)?.try_into().ok()?),
                nanoseconds: u32::from_be_bytes(take(4)?.try_into().ok()?),
            },
        };
        let mut places = Vec::new();
        while let Some(parent) = take(8) {
            let parent = u64::from_be_bytes(parent.try_into().ok()?);
            let count = u16::from_be_bytes(take(2)?.try_into().ok()?);
            places.push(Place { parent, name: take(count.into())?.into() });
        }
        rest.is_empty().then_some(Self { inode, places })
    }
}

/// A map of bounded size that keeps what was used lately: two generations, the older of which is
/// dropped as a whole.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    entries_max: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Generations<K, V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), entries_max: entries_max.max(2) }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.entries_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let born = Timestamp { seconds: -5, nanoseconds: 6 };
        let place = |parent, name: &[u8]| Place { parent, name: name.into() };
        Record {
            inode: InodeKey { dev: 3, ino: 4, born },
            places: vec![place(1, b"one"), place(u64::MAX, &[0xff; 255])],
        }
    }

    #[test]
    fn records_survive_encoding_and_nothing_else_decodes() {
        let bytes = record().encode();
        assert_eq!(Record::decode(&bytes), Some(record()));
        let whole = [bytes.len(), 1 + InodeKey::BYTES, 1 + InodeKey::BYTES + 10 + 3];
        for cut in 0..bytes.len() {
            if !whole.contains(&cut) {
                assert_eq!(Record::decode(&bytes[..cut]), None, "cut at {cut}");
            }
        }
        let mut newer = bytes;
        newer[0] += 1;
        assert_eq!(Record::decode(&newer), None);
    }

    #[test]
    fn generations_are_bounded_and_keep_what_is_used() {
        let mut map = Generations::new(10);
        for n in 0..1000 {
            map.insert(n, n);
            assert_eq!(map.get(&0), Some(0));
            assert!(map.young.len() + map.old.len() <= 10);
        }
        assert_eq!(map.get(&500), None);
        map.remove(&0);
        assert_eq!(map.get(&0), None);
    }
}
