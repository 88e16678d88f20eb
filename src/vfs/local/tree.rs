//! Handles by table: an id leads to the names its file had, and the file found there must be it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, RawDir};
use rustix::io::Errno;

use super::LocalFs;
use super::dir::LIST_BUFFER_BYTES;
use super::open::{Node, point_at};
use super::stat::Stat;
use super::table::{
    Generations, HANDLE_CACHE_RECORDS_MAX, HANDLE_NAMES_MAX, HandleTable, InodeKey, Place, ROOT_ID,
    Record,
};
use crate::seldom::limited;
use crate::vfs::{FsError, Kind, Result, Timestamp};

/// The longest path that is opened at once; a longer one goes name by name.
const PATH_BYTES_MAX: usize = 4000;
/// The most files that are remembered once they are gone.
const GONE_FILES_MAX: usize = 4096;
/// The most entries of a directory that are searched for a file that somebody else renamed.
const SEARCH_ENTRIES_MAX: usize = 100_000;
/// The most records that one handle's search may go through: deeper than any path opened at once.
const STEPS_MAX: usize = 512;
/// How often a search starts again because names changed meanwhile.
const TRIES_MAX: usize = 64;

/// The table of one tree, with what of it is in memory.
pub(super) struct Tree {
    table: Arc<dyn HandleTable>,
    /// This tree's own part of the table.
    prefix: [u8; 8],
    state: Mutex<State>,
}

struct State {
    records: Generations<u64, Arc<Record>>,
    ids: Generations<InodeKey, u64>,
    /// Files that are gone: their locks are given up by the same handles.
    gone: Generations<u64, InodeKey>,
}

/// What came of searching a directory.
enum Search {
    Found(Place, Node),
    NotThere,
    /// The directory could not be read to its end.
    Unknown,
}

impl Tree {
    pub(super) fn new(table: Arc<dyn HandleTable>, prefix: [u8; 8]) -> Self {
        let state = State {
            records: Generations::new(HANDLE_CACHE_RECORDS_MAX),
            ids: Generations::new(HANDLE_CACHE_RECORDS_MAX),
            gone: Generations::new(GONE_FILES_MAX),
        };
        Self { table, prefix, state: Mutex::new(state) }
    }

    /// Opens (O_PATH) the file of an id.
    pub(super) fn open(&self, fs: &LocalFs, id: u64) -> Result<Node> {
        for _ in 0..TRIES_MAX {
            if let Some(node) = self.open_once(fs, id, &mut STEPS_MAX.clone())? {
                return Ok(node);
            }
        }
        // It is there, and will not stay where it is: the caller is to come again.
        Err(Errno::AGAIN.into())
    }

    /// The id of a file found under a name; it gets one where it has none.
    pub(super) fn remember(&self, inode: InodeKey, kind: Kind, place: Place) -> Result<u64> {
        let mut state = self.lock();
        let known = match self.id_of(&mut state, inode)? {
            Some(id) => self.record(&mut state, id)?.map(|record| (id, record)),
            None => None,
        };
        let Some((id, record)) = known else {
            let id = fresh_id();
            self.put(&mut state, id, Record { inode, places: vec![place] })?;
            return Ok(id);
        };
        if record.places.first() != Some(&place) {
            let mut record = Record::clone(&record);
            record.places.retain(|other| kind != Kind::Directory && *other != place);
            record.places.insert(0, place);
            self.put(&mut state, id, record)?;
        }
        Ok(id)
    }

    /// The file of an id, whether it is there or gone since this server started.
    pub(super) fn inode_of(&self, fs: &LocalFs, id: u64) -> Result<InodeKey> {
        if id == ROOT_ID {
            return Ok(fs.inode_key(&fs.stat(&fs.root)?));
        }
        let mut state = self.lock();
        match self.record(&mut state, id)? {
            Some(record) => Ok(record.inode),
            None => state.gone.get(&id).ok_or(FsError::Stale),
        }
    }

    /// The id of a file that has one.
    pub(super) fn known(&self, inode: InodeKey) -> Result<Option<u64>> {
        self.id_of(&mut self.lock(), inode)
    }

    /// Notes a place that a file is about to get, before it gets it: whenever the server dies, the
    /// file is in one of its places.
    pub(super) fn will_be_at(&self, inode: InodeKey, place: Place) -> Result<()> {
        self.change(inode, |places| {
            places.retain(|other| *other != place);
            places.insert(places.len().min(1), place);
        })
    }

    /// Notes that a file has moved.
    pub(super) fn moved(&self, inode: InodeKey, from: &Place, to: Place) -> Result<()> {
        self.change(inode, |places| {
            places.retain(|other| other != from && *other != to);
            places.insert(0, to);
        })
    }

    /// Notes that a name is gone, and with the last name (`links_left` = 0) the file.
    pub(super) fn unnamed(&self, inode: InodeKey, place: &Place, links_left: u32) -> Result<()> {
        if links_left > 0 {
            return self.change(inode, |places| places.retain(|other| other != place));
        }
        let mut state = self.lock();
        match self.id_of(&mut state, inode)? {
            Some(id) => self.delete(&mut state, id, inode),
            None => Ok(()),
        }
    }

    fn change(&self, inode: InodeKey, edit: impl FnOnce(&mut Vec<Place>)) -> Result<()> {
        let mut state = self.lock();
        let Some(id) = self.id_of(&mut state, inode)? else { return Ok(()) };
        let Some(record) = self.record(&mut state, id)? else { return Ok(()) };
        let mut changed = Record::clone(&record);
        edit(&mut changed.places);
        if changed == *record { Ok(()) } else { self.put(&mut state, id, changed) }
    }

    /// `None` says that names changed meanwhile.
    fn open_once(&self, fs: &LocalFs, id: u64, steps: &mut usize) -> Result<Option<Node>> {
        if id == ROOT_ID {
            return Ok(Some(fs.node(rustix::io::fcntl_dupfd_cloexec(&fs.root, 0)?)?));
        }
        *steps = steps.checked_sub(1).ok_or(FsError::Stale)?;
        let record = self.record(&mut self.lock(), id)?.ok_or(FsError::Stale)?;
        match self.open_path(fs, &record)? {
            Some(node) => Ok(Some(node)),
            None => self.open_by_name(fs, id, &record, steps),
        }
    }

    /// The quick way: the whole path at once.
    fn open_path(&self, fs: &LocalFs, record: &Record) -> Result<Option<Node>> {
        let Some(path) = self.path(record)? else { return Ok(None) };
        match point_at(&fs.root, &path) {
            Ok(fd) => {
                let node = fs.node(fd)?;
                Ok((fs.inode_key(&node.stat) == record.inode).then_some(node))
            }
            Err(_) => Ok(None),
        }
    }

    /// The path that the last known names make, where they make one that can be opened at once.
    fn path(&self, record: &Record) -> Result<Option<Vec<u8>>> {
        let Some(mut place) = record.places.first().cloned() else { return Ok(None) };
        let mut names = vec![place.name];
        let mut bytes = names[0].len();
        let mut state = self.lock();
        while place.parent != ROOT_ID {
            let parent = self.record(&mut state, place.parent)?;
            let Some(next) = parent.and_then(|record| record.places.first().cloned()) else {
                return Ok(None);
            };
            place = next;
            bytes += 1 + place.name.len();
            if bytes > PATH_BYTES_MAX {
                return Ok(None);
            }
            names.push(place.name);
        }
        names.reverse();
        Ok(Some(names.join(&b'/')))
    }

    /// The careful way: each known place, its directory found by its own id. What somebody else
    /// renamed within its directory is found by its number.
    fn open_by_name(
        &self,
        fs: &LocalFs,
        id: u64,
        record: &Arc<Record>,
        steps: &mut usize,
    ) -> Result<Option<Node>> {
        let mut certain = !record.places.is_empty();
        for place in &record.places {
            let parent = match self.open_once(fs, place.parent, steps) {
                Ok(Some(parent)) => parent,
                Ok(None) => return Ok(None),
                Err(FsError::Stale) => {
                    certain &= self.record(&mut self.lock(), place.parent)?.is_none();
                    continue;
                }
                Err(error) => return Err(error),
            };
            match fs.child(&parent, &place.name) {
                Ok(node) if fs.inode_key(&node.stat) == record.inode => return Ok(Some(node)),
                Ok(_) | Err(FsError::Os(Errno::NOENT | Errno::NOTDIR) | FsError::Stale) => {}
                Err(error) => return Err(error),
            }
            match search(fs, place.parent, &parent, record.inode)? {
                Search::Found(found, node) => {
                    self.moved(record.inode, place, found)?;
                    return Ok(Some(node));
                }
                Search::NotThere => {}
                Search::Unknown => certain = false,
            }
        }
        let mut state = self.lock();
        if self.record(&mut state, id)?.is_none_or(|now| !Arc::ptr_eq(&now, record)) {
            // Renamed by us while we looked, perhaps there and back again.
            return Ok(None);
        }
        if certain {
            self.delete(&mut state, id, record.inode)?;
        }
        Err(FsError::Stale)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is in memory is a copy of whole rows; a panic cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, state: &mut State, id: u64) -> Result<Option<Arc<Record>>> {
        if let Some(record) = state.records.get(&id) {
            return Ok(Some(record));
        }
        let Some(bytes) = self.table.get(&self.record_row(id)).map_err(failed)? else {
            return Ok(None);
        };
        let record = Arc::new(Record::decode(&bytes).ok_or(Errno::IO)?);
        state.records.insert(id, record.clone());
        Ok(Some(record))
    }

    fn id_of(&self, state: &mut State, inode: InodeKey) -> Result<Option<u64>> {
        if let Some(id) = state.ids.get(&inode) {
            return Ok(Some(id));
        }
        let Some(bytes) = self.table.get(&self.inode_row(inode)).map_err(failed)? else {
            return Ok(None);
        };
        let id = u64::from_be_bytes(bytes.try_into().map_err(|_| Errno::IO)?);
        state.ids.insert(inode, id);
        Ok(Some(id))
    }

    fn put(&self, state: &mut State, id: u64, mut record: Record) -> Result<()> {
        record.places.truncate(HANDLE_NAMES_MAX);
        let inode = record.inode;
        let rows = [
            (self.record_row(id), Some(record.encode())),
            (self.inode_row(inode), Some(id.to_be_bytes().to_vec())),
        ];
        self.table.write(&rows).map_err(failed)?;
        state.records.insert(id, Arc::new(record));
        state.ids.insert(inode, id);
        Ok(())
    }

    fn delete(&self, state: &mut State, id: u64, inode: InodeKey) -> Result<()> {
        let rows = [(self.record_row(id), None), (self.inode_row(inode), None)];
        self.table.write(&rows).map_err(failed)?;
        state.records.remove(&id);
        state.ids.remove(&inode);
        state.gone.insert(id, inode);
        Ok(())
    }

    fn record_row(&self, id: u64) -> Vec<u8> {
        [&b"h"[..], &self.prefix, &id.to_be_bytes()].concat()
    }

    fn inode_row(&self, inode: InodeKey) -> Vec<u8> {
        [&b"i"[..], &self.prefix, &inode.to_bytes()].concat()
    }
}

impl LocalFs {
    /// What the table knows a file by.
    pub(super) fn inode_key(&self, stat: &Stat) -> InodeKey {
        // Overlay file systems give a file another time of birth when it is first written.
        let born = stat.born.filter(|_| !self.born_changes);
        InodeKey {
            dev: if stat.dev == self.root_dev { 0 } else { stat.dev },
            ino: stat.attributes.fileid,
            born: born.unwrap_or(Timestamp { seconds: 0, nanoseconds: 0 }),
        }
    }
}

/// Looks for a file in a directory by its number.
fn search(fs: &LocalFs, parent: u64, dir: &Node, inode: InodeKey) -> Result<Search> {
    let Ok(fd) = fs.reopen(dir.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY) else {
        return Ok(Search::Unknown);
    };
    let mut buffer = Vec::with_capacity(LIST_BUFFER_BYTES);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    for _ in 0..SEARCH_ENTRIES_MAX {
        let entry = match entries.next() {
            None => return Ok(Search::NotThere),
            Some(Err(_)) => return Ok(Search::Unknown),
            Some(Ok(entry)) => entry,
        };
        let name = entry.file_name().to_bytes();
        if entry.ino() != inode.ino || name == b"." || name == b".." {
            continue;
        }
        if let Ok(node) = fs.child(dir, name)
            && fs.inode_key(&node.stat) == inode
        {
            return Ok(Search::Found(Place { parent, name: name.into() }, node));
        }
    }
    Ok(Search::Unknown)
}

fn fresh_id() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // Each half has a few fixed bits, in places of its own.
    (high ^ low.rotate_left(17)).max(ROOT_ID + 1)
}

fn failed(error: io::Error) -> FsError {
    limited!(error, %error, "the handle table");
    Errno::IO.into()
}
