//! Whose turn may have come: whom to look at when a range became freer.
//!
//! Thousands may wait for one range of which one can have it, so not all of them are looked at. An
//! exclusive request that covers the whole freed range and can have it at once bars whoever is
//! behind it: those are looked at only where it does not get it after all. And where one of them is
//! held up by a lock elsewhere, all are passed by that the same lock holds up.

use super::Table;
use super::fairness::Newcomer;
use super::locks::opposing;
use super::queue::Waiter;
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

/// What becomes of a waiting request that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is to be granted.
    Come,
    /// A lock of another owner holds it up.
    HeldUp(u32),
    /// Its owner has not said what it makes of a grant of some of the same bytes, and gets no other
    /// there: so a roll-back knows what was there before.
    GrantOpen,
    /// It yields until then.
    Yields(u64),
}

impl Table {
    /// What becomes of a waiting request now.
    pub(crate) fn turn(&self, ix: u32, now_ms: u64) -> Turn {
        let (range, seq) = (self.queue.range(ix), self.queue.seq(ix));
        let &Waiter { owner, file, mode, queued_ms, upgrade, .. } = self.queue.get(ix);
        if let Some(lock) = self.blocker(Some(owner), file, range, mode) {
            return Turn::HeldUp(lock);
        }
        if !self.grants_in(owner, file, range).is_empty() {
            return Turn::GrantOpen;
        }
        if upgrade {
            return Turn::Come;
        }
        let client = Some(self.names.owners[owner].client);
        let (owner, since_ms) = (Some(owner), queued_ms);
        let newcomer = Newcomer { owner, client, file, range, mode, seq, since_ms };
        self.yields_until(&newcomer, now_ms).map_or(Turn::Come, Turn::Yields)
    }

    /// Adds to `found` the numbers in the queue of all whose turn may have come by what changed
    /// since the last time; of some twice.
    pub(crate) fn take_turns(&mut self, now_ms: u64, found: &mut Vec<u64>) {
        found.append(&mut self.woken);
        for (seq, piece) in std::mem::take(&mut self.behind) {
            self.by_piece(&piece, Some(seq), now_ms, found);
        }
        if !self.freed.is_empty() {
            let mut freed = std::mem::take(&mut self.freed);
            freed.sort_unstable_by_key(|freed| {
                let Freed { file, range, mode } = *freed;
                (file, range.first(), std::cmp::Reverse((range.last(), mode)))
            });
            freed.dedup_by(|next, before| before.covers(next));
            for of_file in freed.chunk_by(|one, next| one.file == next.file) {
                self.by_freed(of_file, now_ms, found);
            }
        }
        if !self.grown.is_empty() {
            let mut grown = std::mem::take(&mut self.grown);
            grown.sort_unstable();
            grown.dedup();
            for (owner, file) in grown {
                found.extend(self.queue.own_on(owner, file).map(|ix| self.queue.seq(ix)));
            }
        }
    }

    /// Says whether one of those got its lock. Where not, those whom it barred are looked at.
    pub(crate) fn looked_at(&mut self, seq: u64, granted: bool) {
        if let Some(pieces) = self.barred.remove(&seq)
            && !granted
        {
            self.behind.extend(pieces.into_iter().map(|piece| (seq, piece)));
        }
    }

    /// Adds those on one file whose turn may have come because of what became free there. That
    /// takes no longer than to look at every request on the file a few times, however much became
    /// free and however many want all of it.
    fn by_freed(&mut self, freed: &[Freed], now_ms: u64, found: &mut Vec<u64>) {
        let (Some(&Freed { file, .. }), before) = (freed.first(), found.len()) else { return };
        let most = usize::try_from(self.names.files[file].waiting()).unwrap_or(usize::MAX);
        if freed.len() <= most {
            for piece in freed {
                self.by_piece(piece, None, now_ms, found);
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
            if let Some(all) = freed.iter().copied().reduce(hull) {
                self.each_between(&all, (None, u64::MAX), &mut |_| true, found);
            }
        }
    }

    /// Adds those whose turn may have come by one freed piece, of those behind a number.
    fn by_piece(&mut self, piece: &Freed, after: Option<u64>, now_ms: u64, found: &mut Vec<u64>) {
        let Some(probe) = self
            .bar(piece, after)
            .or_else(|| self.find_between(piece, (after, u64::MAX), |_| true))
        else {
            return;
        };
        let seq = self.queue.seq(probe);
        let every = &mut |_| true;
        match self.turn(probe, now_ms) {
            Turn::Come if self.bars(probe, piece) => {
                self.each_between(piece, (after, seq + 1), every, found);
                self.barred.entry(seq).or_default().push(*piece);
            }
            Turn::HeldUp(lock) => {
                let (held, range) = (self.locks.get(lock), self.locks.range(lock));
                let (holder, holds) = (held.owner, held.attrs.mode);
                let passes = &mut |ix: u32| {
                    let &Waiter { owner, mode, .. } = self.queue.get(ix);
                    owner == holder
                        || !mode.conflicts(holds)
                        || !self.queue.range(ix).overlaps(range)
                };
                self.each_between(piece, (after, u64::MAX), passes, found);
            }
            _ => self.each_between(piece, (after, u64::MAX), every, found),
        }
    }

    /// Adds those that what was freed was in the way of, of those behind a number and ahead of
    /// another as many as `wanted` takes.
    fn each_between(
        &self,
        freed: &Freed,
        (after, before): (Option<u64>, u64),
        wanted: &mut dyn FnMut(u32) -> bool,
        found: &mut Vec<u64>,
    ) {
        self.find_between(freed, (after, before), |ix| {
            if wanted(ix) {
                found.push(self.queue.seq(ix));
            }
            false
        });
    }

    fn find_between(
        &self,
        freed: &Freed,
        (after, before): (Option<u64>, u64),
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let slot = &self.names.files[freed.file];
        let query = Query { range: freed.range, except: NOBODY, before };
        let accept = &mut |entry: &WaiterEntry| {
            after.is_none_or(|after| self.queue.seq(entry.ix()) > after) && accept(entry.ix())
        };
        opposing(freed.mode).iter().find_map(|&mode| slot.queue(mode).find(&query, accept))
    }

    fn bars(&self, ix: u32, piece: &Freed) -> bool {
        self.queue.get(ix).mode == Mode::Exclusive && self.queue.range(ix).contains(piece.range)
    }

    /// An exclusive request that covers the whole piece, as far ahead as is found quickly.
    fn bar(&self, piece: &Freed, after: Option<u64>) -> Option<u32> {
        let tree = self.names.files[piece.file].queue(Mode::Exclusive);
        let mut bar = None;
        for _ in 0..BAR_SEARCHES_MAX {
            let before = bar.map_or(u64::MAX, |bar| self.queue.seq(bar));
            let query = Query { range: piece.range, except: NOBODY, before };
            let covers = &mut |entry: &WaiterEntry| {
                self.queue.range(entry.ix()).contains(piece.range)
                    && after.is_none_or(|after| self.queue.seq(entry.ix()) > after)
            };
            let Some(further) = tree.find(&query, covers) else {
                break;
            };
            bar = Some(further);
        }
        bar
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
        table.take_turns(0, &mut found);
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
