//! Which files are being changed, and whether by several calls at a time.
//!
//! A client that is told what was before its change (RFC 1813 2.6, `pre_op_attr`) compares it with
//! what it knows: if that is the same, nobody else changed the file, and what it has cached stays
//! good. But before, change and after are three system calls. Where two changes overlap, each
//! would vouch for the other; so neither tells what was before, and their clients look again. What
//! programs of this machine change meanwhile cannot be known here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::stat::Stat;
use crate::vfs::{FileHandle, Wcc};

/// The files that are being changed: as many as calls run.
pub(super) struct Changes {
    running: Mutex<HashMap<FileHandle, Running>>,
    /// One of them is held from the look at a file that a change of its attributes depends on to
    /// the end of that change.
    turns: [Mutex<()>; TURNS],
}

/// How many files' attributes can be changed at a time: those whose numbers differ modulo this.
const TURNS: usize = 64;

impl Default for Changes {
    fn default() -> Self {
        Self { running: Mutex::default(), turns: std::array::from_fn(|_| Mutex::default()) }
    }
}

#[derive(Default)]
struct Running {
    calls: usize,
    /// Several calls, since the first of them began.
    overlap: bool,
}

/// One call's change of one file, from before it looks at the file until it is dropped.
pub(super) struct Change<'a> {
    changes: &'a Changes,
    file: &'a FileHandle,
}

impl Changes {
    /// To be called before the attributes are taken that are to be those before the change.
    pub(super) fn begin<'a>(&'a self, file: &'a FileHandle) -> Change<'a> {
        self.with(|running| {
            let running = running.entry(file.clone()).or_default();
            running.calls += 1;
            running.overlap |= running.calls > 1;
        });
        Change { changes: self, file }
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<FileHandle, Running>) -> T) -> T {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps other changes of a file's attributes away until dropped: between SETATTR's look at the
    /// ctime that guards it and its change (RFC 1813 3.3.2) no other comes.
    pub(super) fn one_by_one(&self, stat: &Stat) -> MutexGuard<'_, ()> {
        let turn = usize::try_from(stat.attributes.fileid % TURNS as u64).unwrap_or(0);
        self.turns[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change<'_> {
    /// To be called once `wcc` is filled in.
    pub(super) fn judge(&self, wcc: &mut Wcc) {
        if self.changes.with(|running| running.get(self.file).is_none_or(|each| each.overlap)) {
            wcc.before = None;
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.changes.with(|running| {
            let Some(each) = running.get_mut(self.file) else { return };
            each.calls -= 1;
            if each.calls == 0 {
                running.remove(self.file);
            }
        });
    }
}
