//! What a lock or an unlock does to the pieces its owner already holds: replace, cut, merge.

use super::Table;
use super::locks::{Attrs, Held, Standing};
use crate::effect::Effect;
use crate::types::{LockId, Mode, Range};

/// Gives out ids derived from the one a request brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    base: LockId,
    pub(crate) used: u32,
}

impl Ids {
    pub(crate) fn new(base: LockId, used: u32) -> Self {
        Ids { base, used }
    }

    fn fresh(&mut self) -> LockId {
        let id = self.base.derived(self.used);
        self.used += 1;
        id
    }
}

/// A lock to be placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) attrs: Attrs,
    pub(crate) now_ms: u64,
    pub(crate) blocking: bool,
    pub(crate) reclaim: bool,
}

/// A piece that changes, and what stays of it.
#[derive(Debug)]
struct Cut {
    lock: u32,
    before: Option<Range>,
    after: Option<Range>,
}

/// A change that is worked out but not yet made.
#[derive(Debug)]
pub(crate) struct Plan {
    owner: u32,
    file: u32,
    range: Range,
    put: Option<Put>,
    cuts: Vec<Cut>,
    /// How many pieces more (or fewer) are held afterwards.
    pub(crate) gain: i64,
}

impl Table {
    /// Works out how to place a lock, or with `put` = `None` how to unlock. `None` where nothing
    /// would change.
    pub(crate) fn plan(
        &self,
        owner: u32,
        file: u32,
        range: Range,
        put: Option<Put>,
    ) -> Option<Plan> {
        let mut plan = Plan { owner, file, range, put, cuts: Vec::new(), gain: 0 };
        for lock in self.own_near(owner, file, range.widened()) {
            let piece = self.locks.range(lock);
            if let Some(put) = &mut plan.put
                && put.attrs == self.locks.get(lock).attrs
            {
                if piece.contains(range) {
                    return None;
                }
                plan.range = plan.range.hull(piece);
                put.now_ms = put.now_ms.min(self.locks.get(lock).acquired_ms);
                plan.cuts.push(Cut { lock, before: None, after: None });
                plan.gain -= 1;
            } else if piece.overlaps(range) {
                let (before, after) = piece.without(range);
                plan.gain += i64::from(before.is_some()) + i64::from(after.is_some()) - 1;
                plan.cuts.push(Cut { lock, before, after });
            }
        }
        if plan.put.is_some() {
            plan.gain += 1;
        } else if plan.cuts.is_empty() {
            return None;
        }
        Some(plan)
    }

    /// Carries out a plan, in memory and as record changes.
    pub(crate) fn apply(&mut self, plan: Plan, ids: &mut Ids, fx: &mut Vec<Effect>) {
        let Plan { owner, file, range, put, cuts, .. } = plan;
        let id = put.is_some().then(|| ids.fresh());
        for cut in cuts {
            self.note_weakened(&cut, range, put.as_ref());
            self.cut(&cut, ids, fx);
        }
        if let (Some(put), Some(id)) = (put, id) {
            let Put { attrs, now_ms, blocking, reclaim } = put;
            let held = Held { id, owner, file, attrs, acquired_ms: now_ms, blocking, reclaim };
            let ix = self.insert_lock(range, held);
            fx.push(self.put_lock(ix));
            self.note_grown(owner, file);
            self.note_changed(owner, file);
        }
    }

    /// Notes what becomes free where a piece is cut or replaced.
    fn note_weakened(&mut self, cut: &Cut, range: Range, put: Option<&Put>) {
        let held = self.locks.get(cut.lock);
        let (mode, file) = (held.attrs.mode, held.file);
        let stays = put.is_some_and(|put| put.attrs.mode >= mode);
        if !stays && let Some(weakened) = self.locks.range(cut.lock).intersect(range) {
            self.note_freed(file, weakened, mode);
        }
    }

    fn cut(&mut self, cut: &Cut, ids: &mut Ids, fx: &mut Vec<Effect>) {
        match (cut.before, cut.after) {
            (Some(rest), None) | (None, Some(rest)) => {
                self.resize_lock(cut.lock, rest);
                fx.push(self.put_lock(cut.lock));
            }
            (None, None) => {
                let held = self.remove_lock(cut.lock);
                fx.push(self.delete_lock(&held));
            }
            (Some(before), Some(after)) => {
                let held = self.remove_lock(cut.lock);
                fx.push(self.delete_lock(&held));
                for rest in [before, after] {
                    let ix = self.insert_lock(rest, Held { id: ids.fresh(), ..held });
                    fx.push(self.put_lock(ix));
                }
            }
        }
    }

    /// Releases a whole piece.
    pub(crate) fn release(&mut self, ix: u32, fx: &mut Vec<Effect>) {
        let range = self.locks.range(ix);
        let held = self.remove_lock(ix);
        self.note_freed(held.file, range, held.attrs.mode);
        fx.push(self.delete_lock(&held));
    }

    /// Gives a piece other attributes of the same mode and merges it with what is then equal.
    /// `write` = its record changes even where nothing merges.
    pub(crate) fn restate(
        &mut self,
        ix: u32,
        attrs: Attrs,
        reclaim: bool,
        write: bool,
        fx: &mut Vec<Effect>,
    ) {
        self.restate_lock(ix, attrs, reclaim);
        let &Held { owner, file, mut acquired_ms, .. } = self.locks.get(ix);
        let mut whole = self.locks.range(ix);
        let touching: Vec<u32> = self
            .locks
            .own_in(owner, file, whole.widened())
            .filter(|&other| other != ix && self.locks.get(other).attrs == attrs)
            .collect();
        for &other in &touching {
            whole = whole.hull(self.locks.range(other));
            let held = self.remove_lock(other);
            acquired_ms = acquired_ms.min(held.acquired_ms);
            fx.push(self.delete_lock(&held));
        }
        if !touching.is_empty() {
            self.resize_lock(ix, whole);
            self.date_lock(ix, acquired_ms);
        }
        if write || !touching.is_empty() {
            fx.push(self.put_lock(ix));
        }
    }

    /// Makes the pieces a grant left settled, now that the grant is over.
    pub(crate) fn settle_pieces(
        &mut self,
        owner: u32,
        file: u32,
        range: Range,
        waiter: u32,
        fx: &mut Vec<Effect>,
    ) {
        let pieces: Vec<u32> = self
            .locks
            .own_in(owner, file, range)
            .filter(|&ix| self.locks.get(ix).attrs.standing == Standing::Pending(waiter))
            .collect();
        for ix in pieces {
            let held = self.locks.get(ix);
            let (attrs, reclaim) = (held.attrs, held.reclaim);
            let attrs = Attrs { standing: Standing::Settled, ..attrs };
            self.restate(ix, attrs, reclaim, false, fx);
        }
    }

    /// Whether the owner holds something that keeps a request of another owner from its turn.
    pub(crate) fn blocks(&self, owner: u32, file: u32, range: Range, mode: Mode) -> bool {
        self.locks
            .own_in(owner, file, range)
            .any(|ix| self.locks.get(ix).attrs.mode.conflicts(mode))
    }
}
