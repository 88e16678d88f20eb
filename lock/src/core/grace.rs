//! The grace window after a restart, and reclaims, which are served in it and after it.

use std::collections::BTreeMap;

use super::Core;
use crate::effect::{Effect, GraceEnd, GraceEvent, Outcome};
use crate::input::LockRequest;
use crate::record::Undo;
use crate::table::{Attrs, Held, Ids, Put, Standing, Waiter};
use crate::types::{Mode, Range, WaiterId};

/// Far from the ids that a lock itself derives from its request's.
const FAR: u32 = 1 << 28;

/// Owner and file, and a range with the mode and incarnation of its reclaim.
pub(super) type Reclaimed = (u32, u32, (Range, Mode, u32));

/// An open window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) until_ms: u64,
    /// Whether the records are all there is to reclaim.
    pub(super) exact: bool,
    /// Reclaims of recorded locks granted.
    pub(super) reclaimed: u64,
    /// Unreclaimed pieces and shares, as last told.
    pub(super) told_left: u64,
    /// Reclaims, as last told.
    pub(super) told_reclaimed: u64,
    /// What was reclaimed of the pieces of unacknowledged grants, by their waiters' numbers.
    pub(super) under_grants: BTreeMap<u64, Vec<(Range, Mode, u32)>>,
}

impl Core {
    pub(super) fn grace_left_ms(&self) -> Option<u64> {
        self.grace.as_ref().map(|window| window.until_ms.saturating_sub(self.now_ms))
    }

    /// Grants a reclaim of what is on record for this owner, at any time: refusing it would lose
    /// the client's lock without a word. Anything else is admitted only in the window and only
    /// where nothing is in its way. Who waits is not: a reclaimer was there before. Nor is what
    /// others have on record and did not reclaim, where the records are advice: it may have been
    /// given up since, and to the reclaimer.
    pub(super) fn reclaim(&mut self, request: &LockRequest, fx: &mut Vec<Effect>) -> Outcome {
        let &LockRequest { range, mode, .. } = request;
        let owner = self.table.names.owner(&request.owner);
        let file = self.table.names.file(&request.file);
        if let (Some(owner), Some(file)) = (owner, file)
            && self.table.holds(owner, file, range, mode)
        {
            return self.reclaim_recorded(owner, file, request, fx);
        }
        if self.grace.is_none() {
            return Outcome::ReclaimRefused;
        }
        let doubtful = |ix: &u32| self.is_advice(*ix, range, mode);
        let (advice, firm): (Vec<u32>, Vec<u32>) =
            self.in_the_way(owner, file, range, mode).into_iter().partition(doubtful);
        if !firm.is_empty()
            && let Some(outcome) = self.conflict_for(owner, file, range, mode)
        {
            return outcome;
        }
        let stronger = self.stronger_on_record(owner, file, request);
        if let (Some(owner), Some(file), true) = (owner, file, self.records_are_advice()) {
            // Of a grant over these bytes nothing would be left but its promise. Who still waits
            // asks again.
            for grant in self.table.grants_in(owner, file, range) {
                self.abandon_advice(grant, fx);
            }
        }
        let outcome = self.place((owner, file), request, fx);
        if outcome == Outcome::Granted {
            self.counters.reclaimed += 1;
            self.settle_reclaimed(stronger, &mut Ids::new(request.id, FAR), fx);
            self.drop_advice(&advice, request, fx);
        }
        outcome
    }

    /// What a reclaim that reaches beyond the record must not weaken, as in
    /// [`Core::reclaim_recorded`].
    fn stronger_on_record(
        &self,
        owner: Option<u32>,
        file: Option<u32>,
        request: &LockRequest,
    ) -> Vec<Reclaimed> {
        let (Some(owner), Some(file), false) = (owner, file, self.records_are_advice()) else {
            return Vec::new();
        };
        let stronger = |part: Undo| {
            let (mode, incarnation) = part.held?;
            let keep = mode > request.mode && incarnation == request.incarnation;
            keep.then_some((owner, file, (part.range, mode, incarnation)))
        };
        self.table.snapshot(owner, file, request.range).into_iter().filter_map(stronger).collect()
    }

    /// Whether the records may lack what came last, and nobody has had the time to say so.
    pub(super) fn records_are_advice(&self) -> bool {
        self.grace.as_ref().is_some_and(|window| !window.exact)
    }

    /// Whether a piece is only what the records said, and the records may lack what came later.
    fn is_advice(&self, ix: u32, range: Range, mode: Mode) -> bool {
        let Some(window) = self.grace.as_ref().filter(|window| !window.exact) else {
            return false;
        };
        match self.table.locks.get(ix).attrs.standing {
            Standing::Settled => false,
            Standing::Unreclaimed => true,
            Standing::Pending(waiter) => {
                let under = window.under_grants.get(&self.table.queue.seq(waiter));
                !under
                    .into_iter()
                    .flatten()
                    .any(|&(reclaimed, held, _)| reclaimed.overlaps(range) && held.conflicts(mode))
            }
        }
    }

    fn in_the_way(
        &self,
        owner: Option<u32>,
        file: Option<u32>,
        range: Range,
        mode: Mode,
    ) -> Vec<u32> {
        let mut found = Vec::new();
        if let Some(file) = file {
            let all = |ix| {
                found.push(ix);
                false
            };
            self.table.find_blocker(owner, file, range, mode, all);
        }
        found
    }

    /// Takes the range of a reclaim out of what contradicts it.
    fn drop_advice(&mut self, advice: &[u32], request: &LockRequest, fx: &mut Vec<Effect>) {
        let mut ids = Ids::new(request.id, FAR);
        let mut under_grants = Vec::new();
        for &ix in advice {
            if let Standing::Pending(waiter) = self.table.locks.get(ix).attrs.standing {
                under_grants.extend(self.doubt_grant(waiter, fx));
            }
            let &Held { owner, file, .. } = self.table.locks.get(ix);
            let contradicted = self.table.locks.range(ix).intersect(request.range);
            let plan = contradicted.and_then(|range| self.table.plan(owner, file, range, None));
            if let Some(plan) = plan {
                self.table.apply(plan, &mut ids, fx);
            }
        }
        self.settle_reclaimed(under_grants, &mut ids, fx);
    }

    /// Ends a grant that is advice: its owner gave some of it up. What was reclaimed of it stays,
    /// the rest is to be reclaimed.
    pub(super) fn abandon_advice(&mut self, waiter: u32, fx: &mut Vec<Effect>) {
        let mut ids = Ids::new(self.table.queue.get(waiter).id, FAR);
        let reclaimed = self.doubt_grant(waiter, fx);
        self.settle_reclaimed(reclaimed, &mut ids, fx);
    }

    pub(super) fn settle_reclaimed(
        &mut self,
        reclaimed: Vec<Reclaimed>,
        ids: &mut Ids,
        fx: &mut Vec<Effect>,
    ) {
        for (owner, file, (range, mode, incarnation)) in reclaimed {
            let attrs = Attrs { mode, incarnation, standing: Standing::Settled };
            let put = Put { attrs, now_ms: self.now_ms, blocking: false, reclaim: true };
            if let Some(plan) = self.table.plan(owner, file, range, Some(put)) {
                self.table.apply(plan, ids, fx);
            }
        }
    }

    /// A grant that is contradicted is over; what it left is to be reclaimed. Gives what was.
    fn doubt_grant(&mut self, waiter: u32, fx: &mut Vec<Effect>) -> Vec<Reclaimed> {
        let (range, seq) = (self.table.queue.range(waiter), self.table.queue.seq(waiter));
        let &Waiter { owner, file, .. } = self.table.queue.get(waiter);
        let pieces: Vec<u32> = self.table.locks.own_in(owner, file, range).collect();
        for ix in pieces {
            let &Held { attrs, reclaim, .. } = self.table.locks.get(ix);
            if attrs.standing == Standing::Pending(waiter) {
                let attrs = Attrs { standing: Standing::Unreclaimed, ..attrs };
                self.table.restate_lock(ix, attrs, reclaim);
            }
        }
        self.table.remove_waiter(waiter, fx);
        fx.push(Effect::GrantOver { waiter: WaiterId(seq) });
        self.reclaimed_under(seq, owner, file)
    }

    /// What was reclaimed of the pieces of a grant that is over now.
    pub(super) fn reclaimed_under(&mut self, seq: u64, owner: u32, file: u32) -> Vec<Reclaimed> {
        let under = self.grace.as_mut().and_then(|window| window.under_grants.remove(&seq));
        under.into_iter().flatten().map(|reclaimed| (owner, file, reclaimed)).collect()
    }

    fn reclaim_recorded(
        &mut self,
        owner: u32,
        file: u32,
        request: &LockRequest,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        self.register(owner, request.incarnation, &request.contact, fx);
        self.counters.reclaimed += 1;
        self.keep_after_grants(owner, file, request, fx);
        let pieces: Vec<u32> = self.table.locks.own_in(owner, file, request.range).collect();
        let standing = |ix: u32| self.table.locks.get(ix).attrs.standing;
        if pieces.iter().any(|&ix| standing(ix) == Standing::Unreclaimed)
            && let Some(window) = &mut self.grace
        {
            window.reclaimed += 1;
        }
        let &LockRequest { id, range, mode, incarnation, .. } = request;
        let attrs = Attrs { mode, incarnation, standing: Standing::Settled };
        let mut parts: Vec<(Range, Attrs)> = Vec::new();
        let advice = self.records_are_advice();
        for &ix in &pieces {
            let held = self.table.locks.get(ix);
            // What was granted and not acknowledged has its own way to become settled.
            if let Standing::Pending(waiter) = held.attrs.standing {
                self.note_under_grant(waiter, request);
                continue;
            }
            // Where the records are all there is, the client holds what they say: one that reclaims
            // less asked before it got more, and its words crossed.
            let same_life = held.attrs.incarnation == incarnation;
            let attrs = if !advice && same_life && held.attrs.mode > mode {
                Attrs { mode: held.attrs.mode, ..attrs }
            } else {
                attrs
            };
            if self.table.locks.range(ix) == range && held.attrs.mode == attrs.mode {
                if held.attrs != attrs {
                    self.table.restate(ix, attrs, true, true, fx);
                }
                return Outcome::Granted;
            }
            parts.extend(self.table.locks.range(ix).intersect(range).map(|part| (part, attrs)));
        }
        let mut ids = Ids::new(id, 0);
        for (part, attrs) in parts {
            let put = Put { attrs, now_ms: self.now_ms, blocking: false, reclaim: true };
            if let Some(plan) = self.table.plan(owner, file, part, Some(put)) {
                self.table.apply(plan, &mut ids, fx);
            }
        }
        Outcome::Granted
    }

    /// A client that reclaims has that much, whatever it says to an unacknowledged grant: the
    /// records may lack its acknowledgement and what it did since.
    fn keep_after_grants(
        &mut self,
        owner: u32,
        file: u32,
        request: &LockRequest,
        fx: &mut Vec<Effect>,
    ) {
        let &LockRequest { range, mode, incarnation, .. } = request;
        for grant in self.table.grants_in(owner, file, range) {
            let granted = self.table.queue.granted_mut(grant);
            if granted.is_some_and(|granted| granted.raise(range, (mode, incarnation))) {
                fx.push(self.table.put_waiter(grant));
            }
        }
    }

    fn note_under_grant(&mut self, waiter: u32, request: &LockRequest) {
        let &LockRequest { range, mode, incarnation, .. } = request;
        if let (Some(window), Some(range)) =
            (&mut self.grace, self.table.queue.range(waiter).intersect(range))
        {
            let seq = self.table.queue.seq(waiter);
            window.under_grants.entry(seq).or_default().push((range, mode, incarnation));
        }
    }

    /// Whether a request that is no reclaim asks for just what an exact record has for its owner:
    /// its client never got the reply that the server gave before it stopped. It is no new lock,
    /// and gets the answer it got then.
    pub(super) fn is_repetition(&self, owner: u32, file: u32, request: &LockRequest) -> bool {
        let recovering = self.grace.is_some() || self.table.locks.unreclaimed > 0;
        recovering
            && !self.records_are_advice()
            && self.table.locks.own_in(owner, file, request.range).next().is_some_and(|ix| {
                let Attrs { mode, incarnation, standing } = self.table.locks.get(ix).attrs;
                self.table.locks.range(ix).contains(request.range)
                    && (mode, incarnation) == (request.mode, request.incarnation)
                    && (self.grace.is_some() || standing == Standing::Unreclaimed)
            })
    }

    /// Locks and shares on record that nobody reclaimed yet.
    pub(super) fn unreclaimed(&self) -> u64 {
        self.table.locks.unreclaimed + self.table.shares.unreclaimed
    }

    /// Reports progress, and closes the window where nothing is left to wait for.
    pub(super) fn follow_grace(&mut self, fx: &mut Vec<Effect>) {
        let left = self.unreclaimed();
        let Some(window) = &mut self.grace else {
            return;
        };
        let reclaimed = window.reclaimed;
        if (left, reclaimed) != (window.told_left, window.told_reclaimed) {
            window.told_left = left;
            window.told_reclaimed = reclaimed;
            fx.push(Effect::Grace(GraceEvent::Progress { reclaimed, left }));
        }
        if left == 0 && window.exact {
            self.close_grace(GraceEnd::AllSettled, fx);
        }
    }

    pub(super) fn end_grace_when_due(&mut self, fx: &mut Vec<Effect>) {
        if self.grace.as_ref().is_some_and(|window| window.until_ms <= self.now_ms) {
            self.close_grace(GraceEnd::Deadline, fx);
        }
    }

    pub(super) fn end_grace_by_order(&mut self, fx: &mut Vec<Effect>) -> Outcome {
        if self.grace.is_none() {
            return Outcome::NotFound;
        }
        self.close_grace(GraceEnd::Ordered, fx);
        Outcome::Done
    }

    /// Lets everybody in. What nobody reclaimed is dropped, unless it is held for those who could
    /// not know of the restart.
    fn close_grace(&mut self, why: GraceEnd, fx: &mut Vec<Effect>) {
        let Some(window) = self.grace.take() else {
            return;
        };
        let (dropped, kept) = if self.config.unreachable_hold_ms == 0 {
            (self.drop_unreclaimed(why, window.exact, fx), 0)
        } else {
            (0, self.unreclaimed())
        };
        let reclaimed = window.reclaimed;
        fx.push(Effect::Grace(GraceEvent::Closed { why, reclaimed, dropped, kept }));
        if !window.exact {
            // While the table was only advice these might have been promised to somebody else.
            fx.extend(self.tell_grants());
        }
        self.table.wake_all();
    }
}
