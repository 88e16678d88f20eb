//! Reclaims, which are served in the grace window and after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, Outcome, Taken, TakenWhy};
use crate::input::LockRequest;
use crate::record::{LockRecord, Undo};
use crate::table::{Attrs, Held, Ids, Put, Standing, Waiter};
use crate::types::{Mode, Owner, Range, WaiterId};

/// Where the ids begin that a reclaim derives for other pieces than its own lock's.
const FAR: u32 = 1 << 28;

/// Owner and file, and a range with the mode and incarnation of its reclaim.
pub(super) type Reclaimed = (u32, u32, (Range, Mode, u32));

impl Core {
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
        if let Some(&lock) = firm.first() {
            return self.conflict_with(lock);
        }
        let (client, gain) =
            (self.client_of(owner, &request.owner), self.gain_of((owner, file), request));
        if let Some(refusal) = self.too_many_parts(&advice, range, (client, gain)) {
            return refusal;
        }
        let stronger = self.stronger_on_record(owner, file, request);
        let mut ids = Ids::new(request.id, FAR);
        let outcome = match (owner, file) {
            (Some(owner), Some(file)) if !stronger.is_empty() => {
                self.place_around((owner, file), stronger, request, &mut ids, fx)
            }
            (Some(owner), Some(file)) if self.records_are_advice() => {
                self.place_over_grants((owner, file), request, &mut ids, fx)
            }
            known => self.place(known, request, fx),
        };
        if outcome == Outcome::Granted {
            self.counters.reclaimed += 1;
            self.drop_advice(&advice, request, &mut ids, fx);
        }
        outcome
    }

    /// Places a reclaim over advice. Of a grant over these bytes nothing would be left but its
    /// promise, so it is over. Who still waits asks again.
    fn place_over_grants(
        &mut self,
        (owner, file): (u32, u32),
        request: &LockRequest,
        ids: &mut Ids,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let grants = self.table.grants_in(owner, file, request.range);
        if !grants.is_empty()
            && let gain = self.gain_of((Some(owner), Some(file)), request)
            && let Some(refusal) = self.too_many_locks(owner, file, gain)
        {
            return refusal;
        }
        let mut beside = Vec::new();
        for grant in grants {
            for (owner, file, (range, mode, incarnation)) in self.doubt_grant(grant, fx) {
                let (before, after) = range.without(request.range);
                let parts = before.into_iter().chain(after);
                beside.extend(parts.map(|part| (owner, file, (part, mode, incarnation))));
            }
        }
        let outcome = self.place((Some(owner), Some(file)), request, fx);
        self.settle_reclaimed(beside, ids, fx);
        outcome
    }

    /// Places a reclaim that reaches beyond the record around what is `stronger` on record.
    fn place_around(
        &mut self,
        (owner, file): (u32, u32),
        stronger: Vec<Reclaimed>,
        request: &LockRequest,
        ids: &mut Ids,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let &LockRequest { id, range, mode, incarnation, .. } = request;
        let attrs = Attrs { mode, incarnation, standing: Standing::Settled };
        let put = Put { attrs, now_ms: self.now_ms, blocking: false, reclaim: true };
        let (mut gaps, mut rest) = (Vec::new(), Some(range));
        for &(.., (part, ..)) in &stronger {
            let (gap, after) = rest.map_or((None, None), |rest| rest.without(part));
            gaps.extend(gap);
            rest = after;
        }
        gaps.extend(rest);
        let plan = |gap| self.table.plan(owner, file, gap, Some(put));
        let plans: Vec<_> = gaps.into_iter().filter_map(plan).collect();
        let gain = plans.iter().map(|plan| plan.gain).sum();
        if let Some(refusal) = self.too_many_locks(owner, file, gain) {
            return refusal;
        }
        self.register(owner, incarnation, &request.contact, fx);
        self.drop_undo(owner, file, range, fx);
        let mut own_ids = Ids::new(id, 0);
        for plan in plans {
            self.table.apply(plan, &mut own_ids, fx);
        }
        self.settle_reclaimed(stronger, ids, fx);
        Outcome::Granted
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
    fn drop_advice(
        &mut self,
        advice: &[u32],
        request: &LockRequest,
        ids: &mut Ids,
        fx: &mut Vec<Effect>,
    ) {
        let (mut under_grants, mut taken) = (Vec::new(), BTreeMap::new());
        for &ix in advice {
            if let Standing::Pending(waiter) = self.table.locks.get(ix).attrs.standing {
                under_grants.extend(self.doubt_grant(waiter, fx));
            }
            let &Held { owner, file, .. } = self.table.locks.get(ix);
            let Some(range) = self.table.locks.range(ix).intersect(request.range) else { continue };
            let lost = self.contradicted(owner, &request.owner, &mut taken);
            lost.locks += 1;
            if lost.named.len() < Taken::NAMED_MAX {
                lost.named.push(LockRecord { range, ..self.table.lock_record(ix) });
            }
            if let Some(plan) = self.table.plan(owner, file, range, None) {
                self.table.apply(plan, ids, fx);
            }
        }
        self.settle_reclaimed(under_grants, ids, fx);
        self.tell_contradicted(taken, fx);
    }

    /// What the client of an owner loses because another contradicts it, by the client's number.
    pub(super) fn contradicted<'a>(
        &self,
        owner: u32,
        by: &Owner,
        taken: &'a mut BTreeMap<u32, Taken>,
    ) -> &'a mut Taken {
        let client = self.table.names.owners[owner].client;
        taken.entry(client).or_insert_with(|| Taken {
            client_id: Arc::clone(&self.table.names.clients[client].id),
            why: TakenWhy::Contradicted { by: Arc::clone(&by.client_id) },
            locks: 0,
            shares: 0,
            named: Vec::new(),
        })
    }

    pub(super) fn tell_contradicted(&mut self, taken: BTreeMap<u32, Taken>, fx: &mut Vec<Effect>) {
        for taken in taken.into_values() {
            self.counters.taken += taken.locks + taken.shares;
            fx.push(Effect::Taken(taken));
        }
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
            self.take_back((owner, file), range, attrs, ids, fx);
        }
    }

    /// Gives an owner firmly what it reclaimed of what it has on record. Where a limit leaves no room
    /// for the parts of a piece the whole piece is taken to be reclaimed, if the records are all
    /// that there is: it is nobody else's.
    fn take_back(
        &mut self,
        (owner, file): (u32, u32),
        range: Range,
        attrs: Attrs,
        ids: &mut Ids,
        fx: &mut Vec<Effect>,
    ) {
        let since = |ix| self.table.locks.get(ix).acquired_ms;
        let now_ms = self.table.locks.own_in(owner, file, range).map(since).min();
        let now_ms = now_ms.unwrap_or(self.now_ms);
        let put = Put { attrs, now_ms, blocking: false, reclaim: true };
        let Some(plan) = self.table.plan(owner, file, range, Some(put)) else { return };
        if self.too_many_locks(owner, file, plan.gain).is_none()
            || self.records_are_advice()
            || !self.table.holds(owner, file, range, attrs.mode)
        {
            return self.table.apply(plan, ids, fx);
        }
        // By place: those that were met may merge with those to come.
        let mut rest = Some(range);
        while let Some(left) = rest
            && let Some(ix) = self.first_own((owner, file), left)
        {
            rest = left.without(self.table.locks.range(ix)).1;
            let held = self.table.locks.get(ix).attrs;
            if !matches!(held.standing, Standing::Pending(_)) {
                let attrs = Attrs { mode: held.mode, ..attrs };
                self.table.restate(ix, attrs, true, held != attrs, fx);
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
        let &LockRequest { id, range, mode, incarnation, .. } = request;
        let attrs = Attrs { mode, incarnation, standing: Standing::Settled };
        let pieces: Vec<u32> = self.table.locks.own_in(owner, file, range).collect();
        let (mut parts, mut grants) = (Vec::new(), BTreeSet::new());
        let (advice, mut unreclaimed) = (self.records_are_advice(), false);
        for &ix in &pieces {
            let held = self.table.locks.get(ix).attrs;
            unreclaimed |= held.standing == Standing::Unreclaimed;
            // What was granted and not acknowledged has its own way to become settled.
            if let Standing::Pending(waiter) = held.standing {
                grants.insert(waiter);
                continue;
            }
            // Where the records are all there is, the client holds what they say: one that reclaims
            // less asked before it got more, and its words crossed.
            let keep = !advice && held.incarnation == incarnation && held.mode > mode;
            let attrs = if keep { Attrs { mode: held.mode, ..attrs } } else { attrs };
            parts.extend(self.table.locks.range(ix).intersect(range).map(|part| (part, attrs)));
        }
        if advice && let Some(refusal) = self.no_room_for_parts((owner, file), &parts, &grants) {
            return refusal;
        }
        self.register(owner, incarnation, &request.contact, fx);
        self.counters.reclaimed += 1;
        self.keep_after_grants(owner, file, request, fx);
        if let Some(window) = self.grace.as_mut().filter(|_| unreclaimed) {
            window.reclaimed += 1;
        }
        for waiter in grants {
            self.note_under_grant(waiter, request);
        }
        let mut ids = Ids::new(id, 0);
        for (part, attrs) in parts {
            match self.first_own((owner, file), part) {
                Some(ix)
                    if self.table.locks.range(ix) == part
                        && self.table.locks.get(ix).attrs.mode == attrs.mode =>
                {
                    if self.table.locks.get(ix).attrs != attrs {
                        self.table.restate(ix, attrs, true, true, fx);
                    }
                }
                _ => self.take_back((owner, file), part, attrs, &mut ids, fx),
            }
        }
        Outcome::Granted
    }

    fn first_own(&self, (owner, file): (u32, u32), range: Range) -> Option<u32> {
        self.table.locks.own_in(owner, file, range).next()
    }

    /// The refusal, where a reclaim of parts of what is on record would pass a limit. Over records
    /// that are advice the rest of a piece may be somebody else's by now, so that it cannot be
    /// taken to be reclaimed with its part.
    fn no_room_for_parts(
        &self,
        (owner, file): (u32, u32),
        parts: &[(Range, Attrs)],
        grants: &BTreeSet<u32>,
    ) -> Option<Outcome> {
        let gain_of = |&(part, attrs): &(Range, Attrs)| {
            let put = Put { attrs, now_ms: self.now_ms, blocking: false, reclaim: true };
            self.table.plan(owner, file, part, Some(put)).map_or(0, |plan| plan.gain.max(0))
        };
        let noted = |&waiter: &u32| {
            let under = self
                .grace
                .as_ref()
                .and_then(|window| window.under_grants.get(&self.table.queue.seq(waiter)));
            under.map_or(0, |under| 2 * i64::try_from(under.len()).unwrap_or(i64::MAX / 4))
        };
        let gain = parts.iter().map(gain_of).chain(grants.iter().map(noted)).sum();
        self.too_many_locks(owner, file, gain)
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

    /// Notes what was reclaimed of the pieces of a grant: of what was noted before that stands which
    /// lies beside it.
    fn note_under_grant(&mut self, waiter: u32, request: &LockRequest) {
        let &LockRequest { range, mode, incarnation, .. } = request;
        if let (Some(window), Some(mut range)) =
            (&mut self.grace, self.table.queue.range(waiter).intersect(range))
        {
            let noted = window.under_grants.entry(self.table.queue.seq(waiter)).or_default();
            for (before, as_mode, of) in std::mem::take(noted) {
                if (as_mode, of) == (mode, incarnation) && before.overlaps(range.widened()) {
                    range = range.hull(before);
                } else {
                    let (left, right) = before.without(range);
                    let beside = left.into_iter().chain(right);
                    noted.extend(beside.map(|part| (part, as_mode, of)));
                }
            }
            noted.push((range, mode, incarnation));
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
}
