//! The wait-for graph, walked when a request is about to wait: would it wait for itself?
//!
//! The graph is not stored. An owner with a waiting request waits for whoever holds a conflicting
//! lock and for whoever stands in conflict ahead of it in the queue; both are one search in a tree
//! away, so no unlock, merge, downgrade or cancel can leave a stale edge behind.

use std::collections::BTreeMap;

use super::Table;
use super::names::side;
use super::tree::{NOBODY, Placed, Query, WaiterEntry};
use crate::types::{Mode, Range};

/// A request as the graph sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) owner: u32,
    pub(crate) file: u32,
    pub(crate) range: Range,
    pub(crate) mode: Mode,
    /// Its number in the queue.
    pub(crate) seq: u64,
}

/// Who has been met in one walk, and through whom. Kept between walks for its memory alone.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// By owner: the walk it was met in last, and who waits for it there.
    met: Vec<(u64, u32)>,
    number: u64,
    /// Met, not yet followed.
    open: Vec<u32>,
    /// File, first and last byte of exclusive requests whose obstacles have all been met, with the
    /// largest number of such a request: one ahead of it for the same bytes adds nothing. That
    /// keeps a walk through a long queue on one range linear.
    followed: BTreeMap<(u32, u64, u64), u64>,
    /// How many more obstacles may be looked at.
    edges_left: u64,
    /// How many walks ended for want of them.
    cut_short: u64,
}

impl Walk {
    fn begin(&mut self, edges_max: u64) {
        self.number += 1;
        self.open.clear();
        self.followed.clear();
        self.edges_left = edges_max;
    }

    /// Notes that `by` waits for `owner`.
    fn meet(&mut self, owner: u32, by: u32) {
        let at = owner as usize;
        if self.met.len() <= at {
            self.met.resize(at + 1, (0, NOBODY));
        }
        if self.met[at].0 != self.number {
            self.met[at] = (self.number, by);
            self.open.push(owner);
        }
    }
}

/// How the search through a request's obstacles ended.
#[derive(PartialEq)]
enum Followed {
    /// All were met.
    Through,
    /// One of them is the owner whose wish is judged.
    Closed,
    /// No more obstacles may be looked at.
    CutShort,
}

impl Table {
    /// The owners of the cycle that `wish` would close by waiting, its own first, each waiting for
    /// the next; `None` where it may wait, or where no cycle was found among `edges_max` obstacles.
    pub(crate) fn cycle(&mut self, wish: Wish, edges_max: u64) -> Option<Vec<u32>> {
        if !self.may_be_awaited(wish.owner) {
            return None;
        }
        let mut walk = std::mem::take(&mut self.walk);
        walk.begin(edges_max);
        let cycle = self.last_of_cycle(&mut walk, wish).map(|last| {
            let mut cycle = vec![last];
            let mut owner = last;
            while owner != wish.owner {
                owner = walk.met[owner as usize].1;
                cycle.push(owner);
            }
            cycle.reverse();
            cycle
        });
        self.walk = walk;
        cycle
    }

    /// Follows who waits for whom; gives the owner that waits for the one who wishes.
    fn last_of_cycle(&self, walk: &mut Walk, wish: Wish) -> Option<u32> {
        let mut followed = self.follow(walk, &wish, wish.owner);
        while let (Followed::Through, Some(owner)) = (&followed, walk.open.pop()) {
            for ix in self.queue.own_all(owner) {
                let waiter = self.queue.get(ix);
                if waiter.granted.is_some() {
                    continue;
                }
                let (range, seq) = (self.queue.range(ix), self.queue.seq(ix));
                let next = Wish { owner, file: waiter.file, range, mode: waiter.mode, seq };
                followed = self.follow(walk, &next, wish.owner);
                match followed {
                    Followed::Through => {}
                    Followed::Closed => return Some(owner),
                    Followed::CutShort => break,
                }
            }
        }
        walk.cut_short += u64::from(followed == Followed::CutShort);
        None
    }

    /// Meets everybody a request waits for, and looks for `target` among them.
    fn follow(&self, walk: &mut Walk, wish: &Wish, target: u32) -> Followed {
        let &Wish { owner, file, range, mode, seq } = wish;
        let bytes = (file, range.first(), range.last());
        if !walk.followed.is_empty() && walk.followed.get(&bytes).is_some_and(|&done| done > seq) {
            return Followed::Through;
        }
        let mut closed = false;
        let mut meet = |other: u32| {
            closed = other == target;
            walk.edges_left = walk.edges_left.saturating_sub(1);
            walk.meet(other, owner);
            closed || walk.edges_left == 0
        };
        let mut foremost = true;
        let by_lock = |ix: u32| meet(self.locks.get(ix).owner);
        let stopped = self.find_blocker(Some(owner), file, range, mode, by_lock).is_some() || {
            let by_waiter = |ix: u32| {
                foremost = false;
                meet(self.queue.get(ix).owner)
            };
            self.find_ahead(Some(owner), file, range, mode, seq, by_waiter).is_some()
        };
        if stopped {
            return if closed { Followed::Closed } else { Followed::CutShort };
        }
        // Who holds something on the file need not wait for all who are ahead, and the obstacles of
        // the target's own wish leave out the target.
        // And of the foremost there is none ahead that it could stand for.
        let stands = !foremost && mode == Mode::Exclusive && owner != target;
        if stands && !self.locks.holds_on(owner, file) {
            walk.followed.insert(bytes, seq);
        }
        Followed::Through
    }

    pub(crate) fn deadlock_searches_cut(&self) -> u64 {
        self.walk.cut_short
    }

    /// Whether anybody may wait for the owner at all. Most who are about to wait hold nothing that
    /// others want, and then there is no need to walk.
    fn may_be_awaited(&self, owner: u32) -> bool {
        if self.queue.own_all(owner).any(|ix| self.queue.get(ix).granted.is_none()) {
            return true;
        }
        let mut file = 0;
        while let Some((next, hull)) = self.locks.own_hull(owner, file) {
            if self.names.files[next].waiting > 0 && self.awaited_on(owner, next, hull) {
                return true;
            }
            let Some(after) = next.checked_add(1) else { break };
            file = after;
        }
        false
    }

    fn awaited_on(&self, owner: u32, file: u32, hull: Range) -> bool {
        let query = Query { range: hull, except: owner, before: u64::MAX };
        let trees = &self.names.files[file].queue;
        [Mode::Shared, Mode::Exclusive].into_iter().any(|mode| {
            let awaits = &mut |entry: &WaiterEntry| {
                self.blocks(owner, file, self.queue.range(entry.ix()), mode)
            };
            trees[side(mode)].find(&query, awaits).is_some()
        })
    }
}
