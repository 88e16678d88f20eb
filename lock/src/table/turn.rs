//! Whose turn may have come: whom to look at when a range became freer.
//!
//! Thousands may wait for one range of which one can have it, so not all of them are looked at. The
//! foremost exclusive request that covers the whole freed range bars whoever is behind it: once
//! it is granted by its lock, and until then by its place in the queue. Exempt are its owner's other
//! requests, and owners that hold something on the file: a request goes ahead where its
//! owner holds the bytes already, and past one that waits for its owner.

use super::Table;
use super::names::side;
use super::tree::{NOBODY, Placed, Query, WaiterEntry};
use crate::types::{Mode, Range};

/// How often a bar further ahead is looked for. Requests for one range are found foremost first.
const BAR_SEARCHES_MAX: u32 = 8;

impl Table {
    /// Calls `visit` for every request on the file whose turn may have come because the range
    /// became freer; for some twice.
    pub(crate) fn each_waiting(&self, file: u32, range: Range, visit: &mut impl FnMut(u32)) {
        let trees = &self.names.files[file].queue;
        let bar = self.bar(file, range);
        let before = bar.map_or(u64::MAX, |bar| self.queue.seq(bar).saturating_add(1));
        let query = Query { range, except: NOBODY, before };
        for tree in trees {
            tree.find(&query, &mut |entry| {
                visit(entry.ix());
                false
            });
        }
        if let Some(bar) = bar {
            self.queue.own_on(self.queue.get(bar).owner, file).for_each(&mut *visit);
            let exempt = self.queue.of_holders.range((file, 0)..=(file, u64::MAX));
            exempt.filter_map(|&(_, seq)| self.queue.by_seq(seq)).for_each(visit);
        }
    }

    /// An exclusive request that covers the whole range, as far ahead as is found quickly.
    fn bar(&self, file: u32, range: Range) -> Option<u32> {
        let tree = &self.names.files[file].queue[side(Mode::Exclusive)];
        let mut bar = None;
        for _ in 0..BAR_SEARCHES_MAX {
            let before = bar.map_or(u64::MAX, |bar| self.queue.seq(bar));
            let query = Query { range, except: NOBODY, before };
            let covers = &mut |entry: &WaiterEntry| self.queue.range(entry.ix()).contains(range);
            let Some(further) = tree.find(&query, covers) else {
                break;
            };
            bar = Some(further);
        }
        bar
    }

    /// Keeps track of who waits on a file where it also holds something, when that may have changed.
    pub(super) fn note_holder(&mut self, owner: u32, file: u32) {
        if self.names.files[file].waiting == 0 {
            return;
        }
        let holds = self.locks.holds_on(owner, file);
        let waiting = |ix: &u32| self.queue.get(*ix).granted.is_none();
        let seqs = self.queue.own_on(owner, file).filter(waiting).map(|ix| self.queue.seq(ix));
        for seq in seqs.collect::<Vec<_>>() {
            if holds {
                self.queue.of_holders.insert((file, seq));
            } else {
                self.queue.of_holders.remove(&(file, seq));
            }
        }
    }
}
