//! Whose turn may have come: whom to look at when a range became freer.
//!
//! Thousands may wait for one range of which one can have it, so not all of them are looked at. The
//! foremost exclusive request that covers the whole freed range bars whoever is behind it: once
//! it is granted by its lock, and until then by its place in the queue. Exempt are its owner's other
//! requests, and owners that hold something on the file: a request goes ahead where its
//! owner holds the bytes already, and past one that waits for its owner.

use std::collections::BTreeSet;

use super::Table;
use super::locks::opposing;
use super::tree::{NOBODY, Placed, Query, WaiterEntry};
use crate::types::{Mode, Range};

/// How often a bar further ahead is looked for. Requests for one range are found foremost first.
const BAR_SEARCHES_MAX: u32 = 8;

/// Bytes of a file on which nobody has a claim of a mode any more that somebody had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Freed {
    pub(super) file: u32,
    pub(super) range: Range,
    pub(super) mode: Mode,
}

impl Freed {
    /// Whether all who may gain by the other may gain by this.
    fn covers(&self, other: &Freed) -> bool {
        self.file == other.file && self.range.contains(other.range) && self.mode >= other.mode
    }
}

impl Table {
    /// Adds to `found` the numbers in the queue of all whose turn may have come by what changed
    /// since the last time; of some twice.
    pub(crate) fn take_turns(&mut self, found: &mut Vec<u64>) {
        if !self.freed.is_empty() {
            let mut freed = std::mem::take(&mut self.freed);
            freed.sort_unstable_by_key(|freed| {
                let Freed { file, range, mode } = *freed;
                (file, range.first(), std::cmp::Reverse((range.last(), mode)))
            });
            freed.dedup_by(|next, before| before.covers(next));
            for of_file in freed.chunk_by(|one, next| one.file == next.file) {
                self.by_freed(of_file, found);
            }
        }
        if !self.grown.is_empty() {
            let mut grown = std::mem::take(&mut self.grown);
            grown.sort_unstable();
            grown.dedup();
            for (owner, file) in grown {
                self.own_waiting(owner, file, found);
            }
        }
    }

    /// Adds those on one file whose turn may have come because of what became free there. That
    /// takes no longer than to look at every request on the file a few times, however much became
    /// free and however many want all of it.
    fn by_freed(&self, freed: &[Freed], found: &mut Vec<u64>) {
        let (Some(&Freed { file, .. }), before) = (freed.first(), found.len()) else { return };
        let most = usize::try_from(self.names.files[file].waiting()).unwrap_or(usize::MAX);
        let mut barring = BTreeSet::new();
        if freed.len() <= most {
            for piece in freed {
                self.by_piece(piece, &mut barring, found);
                if found.len() - before > most {
                    break;
                }
            }
        }
        if freed.len() > most || found.len() - before > most {
            found.truncate(before);
            let hull = |one: Freed, other: Freed| Freed {
                file,
                range: one.range.hull(other.range),
                mode: one.mode.max(other.mode),
            };
            let all = freed.iter().copied().reduce(hull);
            return all.into_iter().for_each(|all| self.before(&all, u64::MAX, found));
        }
        // Who is exempt from one bar is so from all.
        if !barring.is_empty() {
            let exempt = self.queue.of_holders.range((file, 0)..=(file, u64::MAX));
            found.extend(exempt.map(|&(_, seq)| seq));
        }
        barring.into_iter().for_each(|owner| self.own_waiting(owner, file, found));
    }

    /// Adds those whose turn may have come by one freed piece but for those who are exempt from the
    /// bar behind them, whose owner is added to `barring`.
    fn by_piece(&self, piece: &Freed, barring: &mut BTreeSet<u32>, found: &mut Vec<u64>) {
        let bar = self.bar(piece.file, piece.range);
        barring.extend(bar.map(|bar| self.queue.get(bar).owner));
        let before = bar.map_or(u64::MAX, |bar| self.queue.seq(bar).saturating_add(1));
        self.before(piece, before, found);
    }

    /// Adds those ahead of a number that what was freed was in the way of.
    fn before(&self, freed: &Freed, before: u64, found: &mut Vec<u64>) {
        let slot = &self.names.files[freed.file];
        let query = Query { range: freed.range, except: NOBODY, before };
        for &mode in opposing(freed.mode) {
            slot.queue(mode).find(&query, &mut |entry: &WaiterEntry| {
                found.push(self.queue.seq(entry.ix()));
                false
            });
        }
    }

    fn own_waiting(&self, owner: u32, file: u32, found: &mut Vec<u64>) {
        found.extend(self.queue.own_on(owner, file).map(|ix| self.queue.seq(ix)));
    }

    /// An exclusive request that covers the whole range, as far ahead as is found quickly.
    fn bar(&self, file: u32, range: Range) -> Option<u32> {
        let tree = self.names.files[file].queue(Mode::Exclusive);
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
        if self.names.files[file].waiting() == 0 {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::super::Waiter;
    use super::*;
    use crate::types::{FileId, LockId, Owner};

    const WAITERS: u64 = 50;

    /// A file for which so many owners wait in this mode, all of them for all of it.
    fn awaited(mode: Mode) -> (Table, u32) {
        let mut table = Table::new(0);
        let file = table.names.intern_file(&FileId::new(*b"f"));
        for seq in 0..WAITERS {
            let name: Arc<str> = Arc::from(format!("o{seq}"));
            let owner = table.names.intern_owner(&Owner {
                owner_id: Arc::clone(&name),
                client_id: name,
                share_name: Arc::from(""),
                note: Arc::default(),
            });
            let waiter = Waiter {
                id: LockId::new(Uuid::from_u128(u128::from(seq))),
                owner,
                file,
                mode,
                incarnation: 1,
                queued_ms: 0,
                silence_ms: 0,
                timeout_ms: 0,
                expires_ms: 0,
                deadline_ms: 0,
                find_deadlock: false,
                upgrade: false,
                context: Arc::default(),
                granted: None,
                told: false,
            };
            table.insert_waiter(Range::ALL, seq, waiter);
        }
        (table, file)
    }

    fn turns(mode: Mode, pieces: u64, freed: Mode) -> Vec<u64> {
        let (mut table, file) = awaited(mode);
        for piece in (0..pieces).map(|n| Range::new(n * 2, 1)) {
            table.note_freed(file, piece.unwrap(), freed);
        }
        let mut found = Vec::new();
        table.take_turns(&mut found);
        assert_eq!(table.freed, []);
        found
    }

    #[test]
    fn many_pieces_that_many_want_are_not_paired_with_each_other() {
        for pieces in [1, 2, WAITERS - 1, WAITERS, WAITERS + 1, 10_000] {
            let mut found = turns(Mode::Shared, pieces, Mode::Exclusive);
            assert!(found.len() as u64 <= 2 * WAITERS, "{pieces} pieces: {}", found.len());
            found.sort_unstable();
            found.dedup();
            assert!(found.into_iter().eq(0..WAITERS), "{pieces} pieces");
        }
    }

    #[test]
    fn of_those_who_exclude_each_other_the_foremost_alone_is_looked_at() {
        let mut found = turns(Mode::Exclusive, 3, Mode::Exclusive);
        found.dedup();
        assert_eq!(found, [0]);
    }

    #[test]
    fn what_was_shared_kept_no_one_waiting_who_wants_to_share() {
        assert_eq!(turns(Mode::Shared, 10, Mode::Shared), []);
        assert_eq!(turns(Mode::Exclusive, 1, Mode::Shared)[0], 0);
    }
}
