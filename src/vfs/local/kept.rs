//! Where the server is not root: the files it made and may not open for writing again.
//!
//! A client that makes a file of mode 0444 writes to it through the descriptor it has. Root opens
//! such a file again; anybody else can only keep it open. Bounded: the oldest goes first.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use super::identity::switches;
use super::stat::Stat;
use crate::vfs::Result;

/// The most files kept open.
pub const KEPT_FILES_MAX: usize = 64;
const MODE_OWNER_WRITES: u32 = 0o200;

/// Open descriptors by device and inode number, the oldest first.
#[derive(Default)]
pub(super) struct Kept(Mutex<VecDeque<((u64, u64), OwnedFd)>>);

impl Kept {
    /// Keeps a file that was just made, where it will be needed.
    pub(super) fn keep(&self, stat: &Stat, file: impl AsFd) {
        if switches() || stat.attributes.mode & MODE_OWNER_WRITES != 0 {
            return;
        }
        let Ok(file) = rustix::io::fcntl_dupfd_cloexec(file, 0) else { return };
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= KEPT_FILES_MAX {
            files.pop_front();
        }
        files.push_back((key(stat), file));
    }

    /// A descriptor of its own to the same open file.
    pub(super) fn get(&self, stat: &Stat) -> Result<Option<OwnedFd>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, file)) = files.iter().find(|(kept, _)| *kept == key(stat)) else {
            return Ok(None);
        };
        Ok(Some(rustix::io::fcntl_dupfd_cloexec(file, 0)?))
    }

    /// Lets go of a file, so that removing it frees its space.
    pub(super) fn drop_file(&self, stat: &Stat) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(kept, _)| *kept != key(stat));
    }

    /// Whether anything is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

fn key(stat: &Stat) -> (u64, u64) {
    (stat.dev, stat.attributes.fileid)
}
