//! The table: who holds what, who reserved what and who waits, with every index kept in step.

mod awaited;
mod deadlock;
mod fairness;
mod file;
mod locks;
mod names;
mod own;
mod place;
mod queue;
mod register;
mod shares;
mod slab;
mod tree;
mod turn;
mod young;

pub(crate) use deadlock::Wish;
pub(crate) use fairness::Newcomer;
pub(crate) use locks::{Attrs, Held, Standing};
pub(crate) use names::{ClientSlot, Names};
pub(crate) use place::{Ids, Plan, Put};
pub(crate) use queue::{Again, Waiter, later};
pub(crate) use shares::Share;
pub(crate) use turn::Turn;

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Mode, Range};
use deadlock::Walk;
use locks::Locks;
use queue::Queue;
use shares::Shares;
use turn::Freed;

/// Locks, waiters, share reservations, and the names they use.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) names: Names,
    pub(crate) locks: Locks,
    pub(crate) queue: Queue,
    pub(crate) shares: Shares,
    /// How long a request yields at most.
    pub(crate) fair_wait_ms: u64,
    /// Where something became free that somebody may wait for: every change that weakens a lock ends
    /// here, so no release path can forget to wake.
    freed: Vec<Freed>,
    /// What became free and who, by its number in the queue, is to get all of it: those behind are
    /// looked at only where it does not.
    barred: BTreeMap<u64, Vec<Freed>>,
    /// The same where it did not get it.
    behind: Vec<(u64, Freed)>,
    /// Numbers of those who may no longer yield.
    woken: Vec<u64>,
    /// Owners (and the file) whose holdings grew or whose grants ended: that may let waiters of
    /// their own pass.
    grown: Vec<(u32, u32)>,
    /// Owners that wait and got a lock: others may wait for them now.
    pub(crate) changed: BTreeSet<u32>,
    /// Scratch of the search for deadlocks.
    walk: Walk,
}

impl Table {
    pub(crate) fn new(seed: u64) -> Self {
        Table {
            names: Names::new(seed),
            locks: Locks::default(),
            queue: Queue::default(),
            shares: Shares::default(),
            fair_wait_ms: 0,
            freed: Vec::new(),
            barred: BTreeMap::new(),
            behind: Vec::new(),
            woken: Vec::new(),
            grown: Vec::new(),
            changed: BTreeSet::new(),
            walk: Walk::default(),
        }
    }

    /// Has everybody who waits looked at.
    pub(crate) fn wake_all(&mut self) {
        let files = self.names.files.iter().filter(|(_, slot)| slot.waiting() > 0);
        self.freed.extend(files.map(|(file, _)| Freed {
            file,
            range: Range::ALL,
            mode: Mode::Exclusive,
        }));
        self.note_doubt();
        // No cycle is without an owner that holds something.
        for owner in self.queue.in_order().map(|ix| self.queue.get(ix).owner) {
            if self.locks.own_all(owner).next().is_some() {
                self.changed.insert(owner);
            }
        }
    }

    /// Notes that a claim of this mode is gone from a range of a file.
    fn note_freed(&mut self, file: u32, range: Range, mode: Mode) {
        if self.names.files[file].waiting() > 0 {
            self.freed.push(Freed { file, range, mode });
        }
    }

    /// Whether anything is noted by which somebody's turn may have come.
    pub(crate) fn has_turns(&self) -> bool {
        !self.freed.is_empty() || !self.woken.is_empty()
    }

    /// Forgets what was noted: everybody who waits is looked at later.
    pub(crate) fn forget_turns(&mut self) {
        self.freed.clear();
        self.woken.clear();
        self.grown.clear();
        self.changed.clear();
    }

    /// Notes that an owner holds more than before, or has a grant less.
    fn note_grown(&mut self, owner: u32, file: u32) {
        if self.names.files[file].waiting() > 0 {
            self.grown.push((owner, file));
        }
    }

    /// Notes that an owner got a lock on a file. Where nobody waits for the file that makes nobody wait
    /// for anybody else.
    fn note_changed(&mut self, owner: u32, file: u32) {
        let waits = |ix: u32| self.queue.get(ix).granted.is_none();
        if self.names.files[file].waiting() > 0 && self.queue.own_all(owner).any(waits) {
            self.changed.insert(owner);
        }
    }
}
