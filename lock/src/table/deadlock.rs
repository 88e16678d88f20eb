//! The wait-for graph, walked when a request is about to wait: would it wait for itself?
//!
//! The graph is not stored. An owner with a waiting request waits for whoever holds a conflicting
//! lock, and for nobody else: that is one search in a tree away, so no unlock, merge, downgrade or
//! cancel can leave a stale edge behind. What is remembered is only where to look: the lock that
//! alone held a request up is looked at before it is believed.

use std::collections::BTreeSet;

use super::locks::opposing;
use super::tree::{LockEntry, NOBODY, Placed, Query, WaiterEntry};
use super::{Table, Waiter};
use crate::types::{Mode, Range};

/// A request as the graph sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) owner: u32,
    pub(crate) file: u32,
    pub(crate) range: Range,
    pub(crate) mode: Mode,
}

/// Who has been met in one walk, and through whom. Kept between walks for its memory, and for what
/// was learnt of waiters.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// By owner: the walk it was met in last, and who waits for it there.
    met: Vec<(u64, u32)>,
    number: u64,
    /// Met in this walk, in order.
    met_now: Vec<u32>,
    /// Met, not yet followed.
    open: Vec<u32>,
    /// In no cycle, as walks before this have found. They count as met.
    passed: Vec<u32>,
    /// File, first and last byte of exclusive requests whose obstacles have all been met: another
    /// for the same bytes adds nothing. That keeps a walk through a long queue on one range linear.
    followed: BTreeSet<(u32, u64, u64)>,
    /// By waiter: its number in the queue, and the lock that alone held it up.
    sole: Vec<(u64, u32)>,
    /// How many more obstacles may be looked at.
    edges_left: u64,
    /// How many walks ended for want of them.
    cut_short: u64,
    /// Counts what may have closed a cycle that no walk has met: a wait that began without one, or
    /// with one that was cut short.
    doubts: u64,
}

impl Walk {
    fn begin(&mut self, edges_max: u64) {
        self.number += 1;
        self.met_now.clear();
        self.open.clear();
        self.followed.clear();
        self.edges_left = edges_max;
    }

    /// Notes that a waiter is held up by a lock.
    fn note_sole(&mut self, waiter: u32, seq: u64, lock: u32) {
        let at = waiter as usize;
        if self.sole.len() <= at {
            self.sole.resize(at + 1, (u64::MAX, 0));
        }
        self.sole[at] = (seq, lock);
    }

    /// Looks at an obstacle: notes that `by` waits for `owner`. Says where the search ends by that.
    fn look_at(&mut self, owner: u32, by: u32, target: u32) -> Option<Followed> {
        self.edges_left = self.edges_left.saturating_sub(1);
        self.meet(owner, by);
        if owner == target {
            return Some(Followed::Closed);
        }
        (self.edges_left == 0).then_some(Followed::CutShort)
    }

    /// Notes that `by` waits for `owner`.
    fn meet(&mut self, owner: u32, by: u32) {
        let at = owner as usize;
        if self.met.len() <= at {
            self.met.resize(at + 1, (0, NOBODY));
        }
        if self.met[at].0 < self.number {
            self.met[at] = (self.number, by);
            self.met_now.push(owner);
            self.open.push(owner);
        }
    }

    /// Has the walks from here on not follow an owner.
    fn pass_by(&mut self, owner: u32) {
        self.meet(owner, NOBODY);
        self.met[owner as usize].0 = u64::MAX;
        self.passed.push(owner);
    }

    fn forget_passed(&mut self) {
        for owner in self.passed.drain(..) {
            self.met[owner as usize].0 = 0;
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

    /// One of those that changed which waits for itself by what it waits for already, as far as one
    /// is found among `edges_max` obstacles. Who is in no cycle is noted as changed no more.
    pub(crate) fn changed_into_cycle(&mut self, edges_max: u64) -> Option<u32> {
        if self.changed.is_empty() {
            return None;
        }
        let mut walk = std::mem::take(&mut self.walk);
        let mut left: Vec<u32> = self.changed.iter().copied().collect();
        let mut edges_left = edges_max;
        let mut found = None;
        while let (None, Some(owner)) = (found, left.pop()) {
            if !self.changed.remove(&owner) {
                continue;
            }
            walk.begin(edges_left);
            walk.open.push(owner);
            found = self.walk_on(&mut walk, owner, Followed::Through).map(|_| owner);
            walk.pass_by(owner);
            edges_left = walk.edges_left;
            // Those who were met last wait for the fewest, and are passed by then.
            left.extend(walk.met_now.iter().filter(|owner| self.changed.contains(owner)));
        }
        walk.doubts += u64::from(edges_left == 0);
        walk.forget_passed();
        self.walk = walk;
        found
    }

    /// Follows who waits for whom; gives the owner that waits for the one who wishes.
    fn last_of_cycle(&self, walk: &mut Walk, wish: Wish) -> Option<u32> {
        let followed = self.follow(walk, None, &wish, wish.owner);
        self.walk_on(walk, wish.owner, followed)
    }

    /// Follows what those who were met wait for; gives the first found that waits for `target`.
    fn walk_on(&self, walk: &mut Walk, target: u32, mut followed: Followed) -> Option<u32> {
        while let (Followed::Through, Some(owner)) = (&followed, walk.open.pop()) {
            for ix in self.queue.own_all(owner) {
                let waiter = self.queue.get(ix);
                if waiter.granted.is_some() {
                    continue;
                }
                let (file, range, mode) = (waiter.file, self.queue.range(ix), waiter.mode);
                let next = Wish { owner, file, range, mode };
                followed = match self.sole_obstacle(walk, ix, &next) {
                    Some(holder) => {
                        walk.look_at(holder, owner, target).unwrap_or(Followed::Through)
                    }
                    None => self.follow(walk, Some(ix), &next, target),
                };
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

    /// The owner that a waiting request waits for, where that is known to be one: a lock that
    /// excludes all others has every byte the request asks for.
    fn sole_obstacle(&self, walk: &Walk, waiter: u32, wish: &Wish) -> Option<u32> {
        let seq = self.queue.seq(waiter);
        let &(_, lock) = walk.sole.get(waiter as usize).filter(|&&(of, _)| of == seq)?;
        let (range, held) = self.locks.look_up(lock)?;
        let holds_up = held.owner != wish.owner
            && held.file == wish.file
            && held.attrs.mode == Mode::Exclusive
            && range.contains(wish.range);
        holds_up.then_some(held.owner)
    }

    /// Notes which lock holds a request up that begins to wait.
    pub(crate) fn note_obstacle(&mut self, waiter: u32, lock: u32) {
        self.walk.note_sole(waiter, self.queue.seq(waiter), lock);
    }

    /// Notes that of everybody who waits: after a restart the first search is then no slower than
    /// the next.
    pub(crate) fn note_obstacles(&mut self) {
        for ix in self.queue.in_order().collect::<Vec<_>>() {
            let &Waiter { owner, file, mode, ref granted, .. } = self.queue.get(ix);
            if granted.is_none()
                && let Some(lock) = self.blocker(Some(owner), file, self.queue.range(ix), mode)
            {
                self.note_obstacle(ix, lock);
            }
        }
    }

    /// Meets everybody a request waits for, and looks for `target` among them. `waiter` = it waits
    /// already.
    fn follow(&self, walk: &mut Walk, waiter: Option<u32>, wish: &Wish, target: u32) -> Followed {
        let &Wish { owner, file, range, mode } = wish;
        let bytes = (file, range.first(), range.last());
        if walk.followed.contains(&bytes) {
            return Followed::Through;
        }
        let (mut stopped, mut lock) = (None, None);
        let query = Query { range, except: owner, before: u64::MAX };
        let by_lock = &mut |entry: &LockEntry| {
            lock = Some(entry.ix());
            stopped = walk.look_at(entry.owner, owner, target);
            stopped.is_some()
        };
        let mut modes = opposing(mode).iter();
        modes.find_map(|&other| self.find_lock(file, other, &query, by_lock));
        if let Some(stopped) = stopped {
            return stopped;
        }
        if let (Some(waiter), Some(lock)) = (waiter, lock) {
            walk.note_sole(waiter, self.queue.seq(waiter), lock);
        }
        // The obstacles of who holds something on the file leave out what it holds itself.
        if mode == Mode::Exclusive && owner != target && !self.locks.holds_on(owner, file) {
            walk.followed.insert(bytes);
        }
        Followed::Through
    }

    /// Notes that somebody waits, or may, of whom nobody looked whether that closes a cycle.
    pub(crate) fn note_doubt(&mut self) {
        self.walk.doubts += 1;
    }

    /// Whether a cycle may have closed since the last search for this waiter, and notes that there is
    /// one now.
    pub(crate) fn is_doubted(&mut self, waiter: u32) -> bool {
        let doubts = self.walk.doubts;
        self.queue.note_search(waiter, doubts) < doubts
    }

    pub(crate) fn deadlock_searches_cut(&self) -> u64 {
        self.walk.cut_short
    }

    /// Whether anybody may wait for the owner at all. Most who are about to wait hold nothing that
    /// others want, and then there is no need to walk.
    fn may_be_awaited(&self, owner: u32) -> bool {
        let mut file = 0;
        while let Some((next, hull)) = self.locks.own_hull(owner, file) {
            if self.names.files[next].waiting() > 0 && self.awaited_on(owner, next, hull) {
                return true;
            }
            let Some(after) = next.checked_add(1) else { break };
            file = after;
        }
        false
    }

    fn awaited_on(&self, owner: u32, file: u32, hull: Range) -> bool {
        let query = Query { range: hull, except: owner, before: u64::MAX };
        let slot = &self.names.files[file];
        [Mode::Shared, Mode::Exclusive].into_iter().any(|mode| {
            let awaits = &mut |entry: &WaiterEntry| {
                self.blocks(owner, file, self.queue.range(entry.ix()), mode)
            };
            slot.queue(mode).find(&query, awaits).is_some()
        })
    }
}
