//! Serving who waits: whose turn it is, granting, and what the client says to its grant.

use std::collections::BTreeSet;

use super::Core;
use crate::effect::{Effect, WaitEnd};
use crate::record::{Granted, Undo};
use crate::table::{Attrs, Ids, Plan, Put, Standing, Turn, Waiter};
use crate::types::{Mode, Range, WaiterId};

impl Core {
    /// Ends a step: grace goes on or ends, waiters whose turn has come get their locks, names
    /// nobody uses are forgotten. Every input ends here, so that no lock stays free while somebody
    /// waits for it.
    pub(super) fn settle(&mut self, fx: &mut Vec<Effect>) {
        self.follow_grace(fx);
        self.follow_holds();
        if self.grace.is_some() {
            // Who waits is looked at when the window closes.
            self.table.forget_turns();
        } else {
            self.serve(fx);
        }
        self.table.names.sweep();
    }

    fn serve(&mut self, fx: &mut Vec<Effect>) {
        let edges_max = self.config.limits.deadlock_edges;
        let mut candidates = BTreeSet::new();
        loop {
            self.gather(&mut candidates);
            if let Some(seq) = candidates.pop_first() {
                let granted = self.look_at(seq, fx);
                self.table.looked_at(seq, granted);
            } else if let Some(owner) = self.table.changed_into_cycle(edges_max) {
                self.end_deadlocked(owner, fx);
            } else {
                break;
            }
        }
    }

    /// Grants a request if its turn has come; says whether it did.
    fn look_at(&mut self, seq: u64, fx: &mut Vec<Effect>) -> bool {
        let Some(ix) = self.table.queue.by_seq(seq) else { return false };
        if self.table.queue.get(ix).granted.is_some() {
            return false;
        }
        match self.table.turn(ix, self.now_ms) {
            Turn::Come if self.has_nothing_to_upgrade(ix) => {
                self.end_wait(ix, WaitEnd::NothingToUpgrade, fx);
                false
            }
            Turn::Come => self.grant(ix, fx),
            Turn::Yields(until_ms) => {
                self.table.note_yielding(ix, Some(until_ms));
                false
            }
            Turn::HeldUp(_) | Turn::GrantOpen => {
                self.table.note_yielding(ix, None);
                false
            }
        }
    }

    /// Ends those of an owner's waits that are in a cycle since its locks changed. Most clients do
    /// not ask again, and would not learn of it.
    fn end_deadlocked(&mut self, owner: u32, fx: &mut Vec<Effect>) {
        // A wait that does not ask for cycles to be found stays, and so may its cycle.
        self.table.note_doubt();
        for ix in self.table.queue.own_all(owner).collect::<Vec<_>>() {
            let &Waiter { ref granted, find_deadlock, .. } = self.table.queue.get(ix);
            if granted.is_none()
                && find_deadlock
                && let Some(cycle) = self.cycle_of(ix)
            {
                self.end_wait(ix, WaitEnd::Deadlock { cycle }, fx);
                self.counters.deadlocks += 1;
            }
        }
    }

    /// Adds those whose turn may have come, by their places in the queue: where a limit leaves room
    /// for one, the first to come gets it, on whatever file.
    fn gather(&mut self, candidates: &mut BTreeSet<u64>) {
        let mut found = Vec::new();
        self.table.take_turns(self.now_ms, &mut found);
        if candidates.is_empty() {
            // Built at once: there may be thousands.
            *candidates = found.into_iter().collect();
        } else {
            candidates.extend(found);
        }
    }

    /// Hands a waiter its lock. Where it asked for less than it holds (shared over its own
    /// exclusive bytes), those bytes keep their mode until it acknowledges, because once weakened
    /// they could not be taken back. Says whether a limit left room for it.
    fn grant(&mut self, ix: u32, fx: &mut Vec<Effect>) -> bool {
        let range = self.table.queue.range(ix);
        let &Waiter { id, owner, file, mode, incarnation, .. } = self.table.queue.get(ix);
        let attrs = Attrs { mode, incarnation, standing: Standing::Pending(ix) };
        let put = Put { attrs, now_ms: self.now_ms, blocking: true, reclaim: false };
        let undo = self.table.snapshot(owner, file, range);
        let plans: Vec<_> = not_stronger(&undo, mode)
            .into_iter()
            .filter_map(|part| self.table.plan(owner, file, part, Some(put)))
            .collect();
        let gain = plans.iter().map(|plan| plan.gain).sum();
        if self.too_many_locks(owner, file, gain).is_some() {
            // Nobody may be kept behind a request that cannot be served.
            self.end_wait(ix, WaitEnd::Limit, fx);
            self.counters.refused_limit += 1;
            return false;
        }
        let mut ids = Ids::new(id, 0);
        for plan in plans {
            self.table.apply(plan, &mut ids, fx);
        }
        self.table.mark_granted(ix, Granted { ids_used: ids.used, undo });
        fx.push(self.table.put_waiter(ix));
        fx.push(self.table.grant_message(ix));
        self.counters.granted_waited += 1;
        let waited_ms = self.now_ms.saturating_sub(self.table.queue.get(ix).queued_ms);
        self.counters.waits.add(waited_ms);
        true
    }

    pub(super) fn grant_accepted(&mut self, waiter: WaiterId, fx: &mut Vec<Effect>) {
        if let Some(ix) = self.unacknowledged(waiter) {
            self.confirm(ix, fx);
        }
    }

    /// The owner may know of its grant. If so it gave up what was stronger, and if not it did not;
    /// it has the bytes either way, reclaimed or not.
    pub(super) fn grant_assumed(&mut self, waiter: WaiterId, fx: &mut Vec<Effect>) {
        if let Some(ix) = self.unacknowledged(waiter) {
            let range = self.table.queue.range(ix);
            let mut waiter = self.table.remove_waiter(ix, fx);
            let &Waiter { owner, file, incarnation, .. } = &waiter;
            let Granted { mut ids_used, undo } = waiter.granted.take().unwrap_or_default();
            self.table.settle_pieces(owner, file, range, ix, fx);
            // What is stronger of a former life is about to go, and this is not to go with it.
            let stronger = |(held, from): (Mode, u32)| held > waiter.mode && from != incarnation;
            for part in undo.into_iter().filter(|part| part.held.is_some_and(stronger)) {
                let held = Some((waiter.mode, incarnation));
                let part = Undo { held, ..part };
                self.make(&waiter, part, Standing::Settled, &mut ids_used, fx);
            }
            self.let_stand(owner, file, range, fx);
        }
    }

    pub(super) fn grant_refused(&mut self, waiter: WaiterId, fx: &mut Vec<Effect>) {
        if let Some(ix) = self.unacknowledged(waiter) {
            self.roll_back(ix, fx);
            self.counters.rolled_back += 1;
        }
    }

    fn unacknowledged(&self, waiter: WaiterId) -> Option<u32> {
        let ix = self.table.queue.by_seq(waiter.0)?;
        self.table.queue.get(ix).granted.is_some().then_some(ix)
    }

    /// The owner knows of its grant: what it gave up for it is gone for good. Where a limit leaves no
    /// room for the parts of what was stronger, that stays: it is nobody else's.
    pub(super) fn confirm(&mut self, ix: u32, fx: &mut Vec<Effect>) {
        let range = self.table.queue.range(ix);
        let mut waiter = self.table.remove_waiter(ix, fx);
        let Granted { mut ids_used, undo } = waiter.granted.take().unwrap_or_default();
        self.table.settle_pieces(waiter.owner, waiter.file, range, ix, fx);
        let &Waiter { owner, file, mode, incarnation, .. } = &waiter;
        for part in undo.into_iter().filter(|part| part.held.is_some_and(|(held, _)| held > mode)) {
            let part = Undo { held: Some((mode, incarnation)), ..part };
            if let Some(plan) = self.plan_made(&waiter, part, Standing::Settled)
                && self.too_many_locks(owner, file, plan.gain).is_none()
            {
                self.make_planned(&waiter, plan, &mut ids_used, fx);
            }
        }
    }

    /// The client does not want its grant: the owner gets back what it held before, except where
    /// it changed its locks since. Over records that are advice that is advice too, but for what
    /// was reclaimed of it.
    pub(super) fn roll_back(&mut self, ix: u32, fx: &mut Vec<Effect>) {
        let seq = self.table.queue.seq(ix);
        let advice = self.records_are_advice();
        let standing = if advice { Standing::Unreclaimed } else { Standing::Settled };
        let mut waiter = self.table.remove_waiter(ix, fx);
        let Granted { mut ids_used, undo } = waiter.granted.take().unwrap_or_default();
        for part in undo {
            // What was stronger the grant left as it was.
            if part.held.is_none_or(|(held, _)| held <= waiter.mode) {
                self.make(&waiter, part, standing, &mut ids_used, fx);
            }
        }
        let reclaimed = self.reclaimed_under(seq, waiter.owner, waiter.file);
        self.settle_reclaimed(reclaimed, &mut Ids::new(waiter.id, ids_used), fx);
    }

    /// Makes `part` what the owner of a former waiter holds there.
    fn make(
        &mut self,
        waiter: &Waiter,
        part: Undo,
        standing: Standing,
        ids_used: &mut u32,
        fx: &mut Vec<Effect>,
    ) {
        if let Some(plan) = self.plan_made(waiter, part, standing) {
            self.make_planned(waiter, plan, ids_used, fx);
        }
    }

    fn plan_made(&self, waiter: &Waiter, part: Undo, standing: Standing) -> Option<Plan> {
        let put = part.held.map(|(mode, incarnation)| Put {
            attrs: Attrs { mode, incarnation, standing },
            now_ms: self.now_ms,
            blocking: false,
            reclaim: false,
        });
        self.table.plan(waiter.owner, waiter.file, part.range, put)
    }

    fn make_planned(
        &mut self,
        waiter: &Waiter,
        plan: Plan,
        ids_used: &mut u32,
        fx: &mut Vec<Effect>,
    ) {
        let mut ids = Ids::new(waiter.id, *ids_used);
        self.table.apply(plan, &mut ids, fx);
        *ids_used = ids.used;
    }

    /// The owner's unacknowledged grants are not to be undone in the range any more: the owner has
    /// said since what it wants there.
    pub(super) fn drop_undo(&mut self, owner: u32, file: u32, range: Range, fx: &mut Vec<Effect>) {
        for ix in self.table.grants_in(owner, file, range) {
            if self.table.queue.granted_mut(ix).is_some_and(|granted| granted.subtract(range)) {
                fx.push(self.table.put_waiter(ix));
            }
        }
    }

    /// Forgets waiters whose clients stopped re-sending, and tells those whose time is over.
    pub(super) fn expire_waiters(&mut self, fx: &mut Vec<Effect>) {
        while let Some(ix) = self.table.queue.expired(self.now_ms) {
            let deadline_ms = self.table.queue.get(ix).deadline_ms;
            if deadline_ms == 0 || deadline_ms > self.now_ms {
                self.table.remove_waiter(ix, fx);
                self.counters.expired += 1;
            } else {
                self.end_wait(ix, WaitEnd::TimedOut, fx);
                self.counters.timed_out += 1;
            }
        }
    }

    fn has_nothing_to_upgrade(&self, ix: u32) -> bool {
        let &Waiter { owner, file, upgrade, .. } = self.table.queue.get(ix);
        upgrade && !self.table.holds(owner, file, self.table.queue.range(ix), Mode::Shared)
    }

    /// Forgets a waiter whose client may be there and does not know.
    pub(super) fn end_wait(&mut self, ix: u32, why: WaitEnd, fx: &mut Vec<Effect>) {
        let waiter = WaiterId(self.table.queue.seq(ix));
        let Waiter { context, .. } = self.table.remove_waiter(ix, fx);
        fx.push(Effect::WaitOver { waiter, context, why });
    }
}

/// The parts of a snapshot that are held in no stronger mode, neighbours joined.
pub(super) fn not_stronger(snapshot: &[Undo], mode: Mode) -> Vec<Range> {
    let mut parts: Vec<Range> = Vec::new();
    for part in snapshot {
        if part.held.is_some_and(|(held, _)| held > mode) {
            continue;
        }
        match parts.last_mut() {
            Some(before) if before.last().checked_add(1) == Some(part.range.first()) => {
                *before = before.hull(part.range);
            }
            _ => parts.push(part.range),
        }
    }
    parts
}

impl Granted {
    /// Has a roll-back leave at least this much in the range; says whether that changed anything.
    pub(super) fn raise(&mut self, range: Range, hold: (Mode, u32)) -> bool {
        let weaker = |part: &Undo| {
            part.range.overlaps(range) && part.held.is_none_or(|(mode, _)| mode < hold.0)
        };
        if !self.undo.iter().any(weaker) {
            return false;
        }
        for part in std::mem::take(&mut self.undo) {
            let (before, after) = part.range.without(range);
            match part.range.intersect(range).filter(|_| weaker(&part)) {
                Some(middle) => {
                    self.undo.extend(before.map(|range| Undo { range, ..part }));
                    self.undo.push(Undo { range: middle, held: Some(hold) });
                    self.undo.extend(after.map(|range| Undo { range, ..part }));
                }
                None => self.undo.push(part),
            }
        }
        true
    }

    /// Leaves the range out of what is to be undone; says whether that changed anything.
    fn subtract(&mut self, range: Range) -> bool {
        if !self.undo.iter().any(|part| part.range.overlaps(range)) {
            return false;
        }
        let parts = std::mem::take(&mut self.undo);
        for part in parts {
            if part.range.overlaps(range) {
                let (before, after) = part.range.without(range);
                let keep = before.into_iter().chain(after);
                self.undo.extend(keep.map(|range| Undo { range, ..part }));
            } else {
                self.undo.push(part);
            }
        }
        true
    }
}
