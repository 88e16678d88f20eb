//! A file somebody holds or awaits something on: its locks and its waiters by place, counted.

use super::register::Named;
use super::tree::{Entry, LockEntry, Tree, WaiterEntry};
use crate::types::{FileId, Mode};

/// One file. Most have locks of one mode, and nobody waits for them: that fits in a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct FileSlot {
    pub(crate) id: FileId,
    /// Held locks of a mode by place, but for the latest.
    locks: Tree<LockEntry>,
    mode: Mode,
    held: u32,
    rest: Option<Box<Rest>>,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<FileSlot>() == 64, "as said above");

/// What most files do not have.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Held locks of the other mode.
    locks: Tree<LockEntry>,
    /// Waiting requests by place, by mode, while there are any.
    queue: Option<Box<[Tree<WaiterEntry>; 2]>>,
    waiting: u32,
    /// How many grants are not yet acknowledged.
    pub(crate) pending: u32,
    /// How many owners have a share reservation.
    pub(crate) shares: u32,
}

static NOTHING: Rest = Rest { locks: Tree::Empty, queue: None, waiting: 0, pending: 0, shares: 0 };
static NONE_WAIT: Tree<WaiterEntry> = Tree::Empty;

impl Named for FileSlot {
    fn name(&self) -> &[u8] {
        self.id.as_bytes()
    }
}

impl FileSlot {
    pub(crate) fn new(id: FileId) -> FileSlot {
        FileSlot { id, locks: Tree::Empty, mode: Mode::Exclusive, held: 0, rest: None }
    }

    /// How many pieces are held.
    pub(crate) fn held(&self) -> u64 {
        self.held.into()
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.rest().waiting.into()
    }

    /// How many grants are not yet acknowledged.
    pub(crate) fn pending(&self) -> u64 {
        self.rest().pending.into()
    }

    /// How many owners have a share reservation.
    pub(crate) fn shares(&self) -> u64 {
        self.rest().shares.into()
    }

    /// One piece more is held.
    pub(crate) fn gained(&mut self) {
        self.held += 1;
    }

    /// One piece less is held.
    pub(crate) fn lost(&mut self) {
        self.held -= 1;
    }

    /// The held locks of a mode by place, but for the latest.
    pub(crate) fn old_locks(&self, mode: Mode) -> &Tree<LockEntry> {
        if mode == self.mode { &self.locks } else { &self.rest().locks }
    }

    pub(crate) fn old_locks_mut(&mut self, mode: Mode) -> &mut Tree<LockEntry> {
        if self.locks.is_empty() && self.rest().locks.is_empty() {
            self.mode = mode;
        }
        if mode == self.mode { &mut self.locks } else { &mut self.rest_mut().locks }
    }

    /// The waiting requests of a mode, by place.
    pub(crate) fn queue(&self, mode: Mode) -> &Tree<WaiterEntry> {
        self.rest().queue.as_ref().map_or(&NONE_WAIT, |queue| &queue[side(mode)])
    }

    /// One more request waits.
    pub(crate) fn joined(&mut self, mode: Mode, entry: WaiterEntry) {
        let rest = self.rest_mut();
        rest.queue.get_or_insert_default()[side(mode)].insert(entry);
        rest.waiting += 1;
    }

    /// One request waits no more.
    pub(crate) fn left(&mut self, mode: Mode, entry: WaiterEntry) {
        let rest = self.rest_mut();
        rest.waiting -= 1;
        match &mut rest.queue {
            Some(queue) if rest.waiting > 0 => queue[side(mode)].remove(entry.key()),
            queue => *queue = None,
        }
    }

    fn rest(&self) -> &Rest {
        self.rest.as_deref().unwrap_or(&NOTHING)
    }

    pub(crate) fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// Gives back what is empty, after something is gone. Says whether nothing is left.
    pub(crate) fn shrink(&mut self) -> bool {
        if self.rest().is_empty() {
            self.rest = None;
        }
        self.is_idle()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.held == 0 && self.rest().is_empty()
    }
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.waiting + self.pending + self.shares == 0
    }
}

/// Where a mode's tree stands in a pair of roots.
pub(super) fn side(mode: Mode) -> usize {
    match mode {
        Mode::Shared => 0,
        Mode::Exclusive => 1,
    }
}
