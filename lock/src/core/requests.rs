//! Test, lock, unlock and cancel: from a request to its outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Core;
use crate::effect::{Conflict, Effect, Outcome, WaitEnd};
use crate::error::Limit;
use crate::input::{LockRequest, Wait};
use crate::table::{Again, Attrs, Held, Ids, Newcomer, Put, Standing, Waiter, Wish, later};
use crate::types::{FileId, LockId, Mode, Owner, Range, WaiterId};

/// The numbers of a request's owner and of its file, where they have one.
type Known = (Option<u32>, Option<u32>);

/// Why a request waits.
#[derive(Clone, Copy)]
enum Because {
    /// This lock is in its way.
    HeldUp(u32),
    /// It yields until then to one that came before.
    Yields(u64),
}

/// How a request waits, and whether for an upgrade.
struct Waits {
    wait: Wait,
    upgrade: bool,
}

impl Core {
    pub(super) fn test(
        &mut self,
        owner: &Owner,
        file: &FileId,
        range: Range,
        mode: Mode,
    ) -> Outcome {
        let owner = self.asker(owner);
        if let Some(left_ms) = self.grace_left_ms() {
            return Outcome::Grace { left_ms };
        }
        let file = self.table.names.file(file);
        self.conflict_for(owner, file, range, mode).unwrap_or(Outcome::Free)
    }

    pub(super) fn lock(&mut self, request: LockRequest, fx: &mut Vec<Effect>) -> Outcome {
        let owner = self.asker(&request.owner);
        if let (Some(owner), false) = (owner, request.reclaim) {
            self.end_former_life(owner, request.incarnation, fx);
        }
        self.lock_or_upgrade(owner, request, false, fx)
    }

    /// Serves a reclaim where all of it is on record.
    pub(super) fn reclaim_of_record(
        &mut self,
        request: LockRequest,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let names = &self.table.names;
        let place = names.owner(&request.owner).zip(names.file(&request.file));
        let holds = |(owner, file)| self.table.holds(owner, file, request.range, request.mode);
        if place.is_some_and(holds) { self.lock(request, fx) } else { Outcome::ReclaimRefused }
    }

    /// Serves a lock, or an exclusive one over what its owner holds, which awaits nothing from a
    /// former life.
    pub(super) fn lock_or_upgrade(
        &mut self,
        owner: Option<u32>,
        mut request: LockRequest,
        upgrade: bool,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        if self.is_freed(&request.owner.client_id) {
            return Outcome::Grace { left_ms: 1 };
        }
        let file = self.table.names.file(&request.file);
        if let (Some(owner), Some(file)) = (owner, file)
            && let Some(outcome) = self.lock_again((owner, file), &request, upgrade, fx)
        {
            return outcome;
        }
        if request.reclaim {
            return self.reclaim(&request, fx);
        }
        if let (Some(owner), Some(file)) = (owner, file)
            && self.is_repetition(owner, file, &request)
        {
            self.drop_undo(owner, file, request.range, fx);
            return self.reclaim(&request, fx);
        }
        if let Some(left_ms) = self.grace_left_ms() {
            return Outcome::Grace { left_ms };
        }
        let blocker =
            file.and_then(|file| self.table.blocker(owner, file, request.range, request.mode));
        let because = match (blocker, request.wait.take()) {
            (Some(lock), None) => return self.conflict_with(lock),
            (Some(lock), Some(wait)) => Some((Because::HeldUp(lock), wait)),
            (None, Some(wait)) if !upgrade => self
                .yields_until((owner, file), &request)
                .map(|until| (Because::Yields(until), wait)),
            (None, _) => None,
        };
        match because {
            Some((because, wait)) => {
                let wait = Waits { wait, upgrade };
                self.enqueue((owner, file), &request, wait, because, fx)
            }
            None => self.place((owner, file), &request, fx),
        }
    }

    /// Until when a new request yields that nothing held forbids.
    fn yields_until(&self, (owner, file): Known, request: &LockRequest) -> Option<u64> {
        let client = self.client_of(owner, &request.owner);
        let &LockRequest { range, mode, .. } = request;
        let (seq, since_ms) = (u64::MAX, self.now_ms);
        let newcomer = Newcomer { owner, client, file: file?, range, mode, seq, since_ms };
        self.table.yields_until(&newcomer, self.now_ms)
    }

    /// The answer to a request that was made before: by a client that re-sends while it waits, that
    /// did not hear of its grant, or that did not get the reply. `None` = it is a new one.
    fn lock_again(
        &mut self,
        (owner, file): (u32, u32),
        request: &LockRequest,
        upgrade: bool,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let &LockRequest { range, mode, incarnation, reclaim, .. } = request;
        if !reclaim {
            self.end_grant_in_other_mode((owner, file), range, mode, fx);
        }
        if let Some(waiter) = self.table.queue.exact(owner, file, range, mode) {
            if self.table.queue.get(waiter).granted.is_some() {
                // A new request may be for what was given up since, and passed on. And who reclaims
                // may have had the lock before it waited, and does not know of the grant.
                if reclaim || self.records_are_advice() {
                    return None;
                }
                fx.push(Effect::GrantOver { waiter: WaiterId(self.table.queue.seq(waiter)) });
                self.confirm(waiter, fx);
            } else if let (Some(wait), false) = (&request.wait, reclaim) {
                if let Some(cycle) = self.cycle_since(waiter, wait) {
                    self.table.remove_waiter(waiter, fx);
                    return Some(Outcome::Deadlock { cycle });
                }
                self.register(owner, incarnation, &request.contact, fx);
                let &Wait { ref context, silence_ms, find_deadlock, .. } = wait;
                let context = Arc::clone(context);
                let again = Again { context, silence_ms, find_deadlock, incarnation, upgrade };
                if self.table.queue.refresh(waiter, again) {
                    fx.push(self.table.put_waiter(waiter));
                }
                if self.grace.is_none() {
                    self.table.queue.count_silence(waiter, self.now_ms);
                }
                return Some(Outcome::Blocked);
            }
        }
        let held = self.table.own_near(owner, file, range).first().copied()?;
        let piece = self.table.locks.get(held);
        let same = self.table.locks.range(held).contains(range)
            && piece.attrs == Attrs { mode, incarnation, standing: Standing::Settled };
        // Under a grant of less it is no repetition: it says that the owner wants to keep this.
        if !same || !self.table.grants_in(owner, file, range).is_empty() {
            return None;
        }
        self.register(owner, incarnation, &request.contact, fx);
        Some(Outcome::Granted)
    }

    /// Who asks for the same bytes in another mode has gone on, and may know of its grant. It must
    /// not hear of that once more: Linux's client takes it for an answer to what it asks for now
    /// (it matches NLM_GRANTED by owner and range), and would hold exclusive what others share.
    fn end_grant_in_other_mode(
        &mut self,
        (owner, file): (u32, u32),
        range: Range,
        mode: Mode,
        fx: &mut Vec<Effect>,
    ) {
        let other = match mode {
            Mode::Shared => Mode::Exclusive,
            Mode::Exclusive => Mode::Shared,
        };
        let Some(waiter) = self.table.queue.exact(owner, file, range, other) else { return };
        if self.table.queue.get(waiter).granted.is_some() && !self.records_are_advice() {
            let waiter = WaiterId(self.table.queue.seq(waiter));
            fx.push(Effect::GrantOver { waiter });
            self.grant_assumed(waiter, fx);
        }
    }

    /// The cycle into which a request that waits has come since it was let wait: who does not ask
    /// for cycles to be found may close one.
    fn cycle_since(&mut self, waiter: u32, wait: &Wait) -> Option<Vec<Owner>> {
        // Else nothing has changed that was not looked at as it did.
        if !wait.find_deadlock || self.grace.is_some() || !self.table.is_doubted(waiter) {
            return None;
        }
        self.cycle_of(waiter)
    }

    /// The cycle that a request that waits is in.
    pub(super) fn cycle_of(&mut self, waiter: u32) -> Option<Vec<Owner>> {
        let range = self.table.queue.range(waiter);
        let &Waiter { owner, file, mode, .. } = self.table.queue.get(waiter);
        self.cycle(Wish { owner, file, range, mode })
    }

    fn cycle(&mut self, wish: Wish) -> Option<Vec<Owner>> {
        let cycle = self.table.cycle(wish, self.config.limits.deadlock_edges)?;
        let owners = &self.table.names.owners;
        Some(cycle.into_iter().map(|owner| owners[owner].owner.clone()).collect())
    }

    /// The refusal, where a lock of another owner is in the way.
    pub(super) fn conflict_for(
        &self,
        owner: Option<u32>,
        file: Option<u32>,
        range: Range,
        mode: Mode,
    ) -> Option<Outcome> {
        let lock = self.table.blocker(owner, file?, range, mode)?;
        Some(self.conflict_with(lock))
    }

    /// The refusal because of this lock.
    pub(super) fn conflict_with(&self, lock: u32) -> Outcome {
        let (held, range) = (self.table.locks.get(lock), self.table.locks.range(lock));
        let owner = self.table.names.owners[held.owner].owner.clone();
        Outcome::Conflict(Conflict { owner, range, mode: held.attrs.mode })
    }

    /// The numbers of the request's owner and file, which are as given where they were known.
    fn intern(&mut self, known: Known, request: &LockRequest) -> (u32, u32) {
        let names = &mut self.table.names;
        let owner = known.0.unwrap_or_else(|| names.intern_owner(&request.owner));
        let file = known.1.unwrap_or_else(|| names.intern_file(&request.file));
        (owner, file)
    }

    fn put(&self, request: &LockRequest) -> Put {
        let &LockRequest { mode, incarnation, reclaim, .. } = request;
        let attrs = Attrs { mode, incarnation, standing: Standing::Settled };
        Put { attrs, now_ms: self.now_ms, blocking: false, reclaim }
    }

    /// How many pieces more there would be with this placed.
    pub(super) fn gain_of(&self, known: Known, request: &LockRequest) -> i64 {
        let (Some(owner), Some(file)) = known else { return 1 };
        let plan = self.table.plan(owner, file, request.range, Some(self.put(request)));
        plan.map_or(0, |plan| plan.gain)
    }

    /// Gives the owner the lock: nothing of another owner is in the way.
    pub(super) fn place(
        &mut self,
        known: Known,
        request: &LockRequest,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let &LockRequest { id, range, incarnation, reclaim, .. } = request;
        let put = self.put(request);
        // Who is new, or new on the file, has nothing there that the lock could merge with or cut.
        let (mut plan, gain) = match known {
            (Some(owner), Some(file)) => {
                let plan = self.table.plan(owner, file, range, Some(put));
                let gain = plan.as_ref().map_or(0, |plan| plan.gain);
                (plan, gain)
            }
            _ => (None, 1),
        };
        let client = self.client_of(known.0, &request.owner);
        let refusal = self
            .too_many_locks_of(client, known.1, gain)
            .or_else(|| self.room_of_source(known.0, &request.owner, gain));
        if let Some(refusal) = refusal.or_else(|| self.room_for(client, &request.owner, fx)) {
            return refusal;
        }
        let (owner, file) = self.intern(known, request);
        if known.0.is_none() || known.1.is_none() {
            plan = self.table.plan(owner, file, range, Some(put));
        }
        self.register(owner, incarnation, &request.contact, fx);
        self.drop_undo(owner, file, range, fx);
        if let Some(plan) = plan {
            self.table.apply(plan, &mut Ids::new(id, 0), fx);
        }
        if !reclaim {
            self.counters.granted += 1;
        }
        Outcome::Granted
    }

    /// The client of a request's owner, where it is known.
    pub(super) fn client_of(&self, known: Option<u32>, owner: &Owner) -> Option<u32> {
        match known {
            Some(owner) => Some(self.table.names.owners[owner].client),
            None => self.table.names.client(&owner.client_id),
        }
    }

    fn enqueue(
        &mut self,
        known: Known,
        request: &LockRequest,
        Waits { wait, upgrade }: Waits,
        because: Because,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let client = self.client_of(known.0, &request.owner);
        let refusal = self
            .too_many_waiters(client, known.1)
            .or_else(|| self.room_of_source(known.0, &request.owner, 1));
        if let Some(refusal) = refusal {
            return refusal;
        }
        // For who has nothing nobody waits, and who yields waits for nobody's lock.
        let cut_before = self.table.deadlock_searches_cut();
        if let ((Some(owner), Some(file)), Because::HeldUp(_), true) =
            (known, because, wait.find_deadlock)
        {
            let &LockRequest { range, mode, .. } = request;
            if let Some(cycle) = self.cycle(Wish { owner, file, range, mode }) {
                return Outcome::Deadlock { cycle };
            }
        }
        if let Some(refusal) = self.room_for(client, &request.owner, fx) {
            return refusal;
        }
        let (owner, file) = self.intern(known, request);
        self.register(owner, request.incarnation, &request.contact, fx);
        let timeout_ms = wait.timeout_ms.unwrap_or(self.config.blocking_timeout_ms);
        let waiter = Waiter {
            id: request.id,
            owner,
            file,
            mode: request.mode,
            incarnation: request.incarnation,
            queued_ms: self.now_ms,
            silence_ms: wait.silence_ms,
            timeout_ms,
            expires_ms: later(self.now_ms, wait.silence_ms),
            deadline_ms: later(self.now_ms, timeout_ms),
            find_deadlock: wait.find_deadlock,
            upgrade,
            context: wait.context,
            granted: None,
            told: false,
        };
        let seq = self.table.queue.next_seq;
        let ix = self.table.insert_waiter(request.range, seq, waiter);
        let searched = self.table.deadlock_searches_cut() == cut_before;
        if !self.table.queue.get(ix).find_deadlock || !searched {
            self.table.note_doubt();
        }
        match because {
            Because::HeldUp(lock) => self.table.note_obstacle(ix, lock),
            Because::Yields(until_ms) => self.table.note_yielding(ix, Some(until_ms)),
        }
        fx.push(self.table.put_waiter(ix));
        self.counters.blocked += 1;
        Outcome::Blocked
    }

    pub(super) fn unlock(
        &mut self,
        id: LockId,
        owner: &Owner,
        file: &FileId,
        range: Range,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let (Some(owner), Some(file)) = (self.asker(owner), self.table.names.file(file)) else {
            return Outcome::Done;
        };
        let mut plan = self.table.plan(owner, file, range, None);
        let gain = plan.as_ref().map_or(0, |plan| plan.gain);
        if let Some(refusal) = self.too_many_locks(owner, file, gain) {
            return refusal;
        }
        let waiters: Vec<u32> = self
            .table
            .queue
            .own_on(owner, file)
            .filter(|&ix| self.table.queue.range(ix).overlaps(range))
            .collect();
        if !waiters.is_empty() {
            for waiter in waiters {
                self.give_up(waiter, fx);
            }
            // Planned again: pieces of an ended grant may have merged.
            plan = self.table.plan(owner, file, range, None);
        }
        if let Some(plan) = plan {
            self.table.apply(plan, &mut Ids::new(id, 0), fx);
        }
        self.counters.unlocked += 1;
        Outcome::Done
    }

    pub(super) fn cancel(
        &mut self,
        owner: &Owner,
        file: &FileId,
        range: Range,
        mode: Mode,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let (Some(owner), Some(file)) = (self.asker(owner), self.table.names.file(file)) else {
            return Outcome::Done;
        };
        match self.table.queue.exact(owner, file, range, mode) {
            // The client is about to hear of its grant, or to unlock: it decides.
            Some(waiter) if self.table.queue.get(waiter).granted.is_some() => Outcome::AlreadyHeld,
            Some(waiter) => {
                self.table.remove_waiter(waiter, fx);
                self.counters.cancelled += 1;
                Outcome::Done
            }
            None if self.table.holds(owner, file, range, mode) => Outcome::AlreadyHeld,
            None => Outcome::Done,
        }
    }

    /// Ends a request of an owner that unlocks some of it: where it was granted, the owner may know
    /// of that, and then has the rest by it.
    fn give_up(&mut self, ix: u32, fx: &mut Vec<Effect>) {
        let range = self.table.queue.range(ix);
        let &Waiter { owner, file, ref granted, .. } = self.table.queue.get(ix);
        if granted.is_none() {
            self.counters.cancelled += 1;
            return self.end_wait(ix, WaitEnd::Unlocked, fx);
        }
        let told = !self.records_are_advice();
        self.abandon(ix, fx);
        if told {
            self.let_stand(owner, file, range, fx);
        }
    }

    /// Ends a request, waiting or granted, without its lock's change.
    pub(super) fn abandon(&mut self, ix: u32, fx: &mut Vec<Effect>) {
        if self.records_are_advice() && self.table.queue.get(ix).granted.is_some() {
            return self.abandon_advice(ix, fx);
        }
        let (range, seq) = (self.table.queue.range(ix), self.table.queue.seq(ix));
        let waiter = self.table.remove_waiter(ix, fx);
        if waiter.granted.is_some() {
            fx.push(Effect::GrantOver { waiter: WaiterId(seq) });
            self.table.settle_pieces(waiter.owner, waiter.file, range, ix, fx);
        } else {
            self.counters.cancelled += 1;
        }
    }

    /// The refusal, where the table may not grow by `gain` pieces.
    pub(super) fn too_many_locks(&self, owner: u32, file: u32, gain: i64) -> Option<Outcome> {
        self.too_many_locks_of(Some(self.table.names.owners[owner].client), Some(file), gain)
    }

    /// The same for a client and a file that may be new.
    fn too_many_locks_of(
        &self,
        client: Option<u32>,
        file: Option<u32>,
        gain: i64,
    ) -> Option<Outcome> {
        let (names, limits) = (&self.table.names, &self.config.limits);
        let of_file = file.map_or(0, |file| names.files[file].held());
        let of_client = client.map_or(0, |client| names.clients[client].held);
        let counts = [
            (Limit::LocksPerFile, of_file, limits.locks_per_file),
            (Limit::LocksPerClient, of_client, limits.locks_per_client),
            (Limit::LocksTotal, self.table.locks.len(), limits.locks_total),
        ];
        beyond(counts, gain)
    }

    /// The refusal, where to cut a range out of what others have there would part their pieces
    /// beyond a limit, a `client` holding `own` more pieces at the same time.
    pub(super) fn too_many_parts(
        &self,
        of_others: &[u32],
        range: Range,
        (client, own): (Option<u32>, i64),
    ) -> Option<Outcome> {
        let (names, limits) = (&self.table.names, &self.config.limits);
        let mut parted = BTreeMap::new();
        for &ix in of_others {
            let (before, after) = self.table.locks.range(ix).without(range);
            if before.is_some() && after.is_some() {
                let &Held { owner, file, .. } = self.table.locks.get(ix);
                *parted.entry((file, names.owners[owner].client)).or_insert(0) += 1;
            }
        }
        let gain = own + parted.values().sum::<i64>();
        parted.into_iter().find_map(|((file, of), parts)| {
            let of_file = (Limit::LocksPerFile, names.files[file].held(), limits.locks_per_file);
            let total = (Limit::LocksTotal, self.table.locks.len(), limits.locks_total);
            let of_client =
                [(Limit::LocksPerClient, names.clients[of].held, limits.locks_per_client)];
            let more = if client == Some(of) { parts + own } else { parts };
            beyond([of_file, total], gain).or_else(|| beyond(of_client, more))
        })
    }

    fn too_many_waiters(&self, client: Option<u32>, file: Option<u32>) -> Option<Outcome> {
        let (names, limits) = (&self.table.names, &self.config.limits);
        let of_file = file.map_or(0, |file| names.files[file].waiting());
        let of_client = client.map_or(0, |client| names.clients[client].waiting);
        let counts = [
            (Limit::WaitersPerFile, of_file, limits.waiters_per_file),
            (Limit::WaitersPerClient, of_client, limits.waiters_per_client),
        ];
        beyond(counts, 1)
    }
}

/// The refusal, where one of these counts may not grow by `gain`.
pub(super) fn beyond(
    counts: impl IntoIterator<Item = (Limit, u64, u64)>,
    gain: i64,
) -> Option<Outcome> {
    let Ok(gain @ 1..) = u64::try_from(gain) else {
        return None;
    };
    let mut counts = counts.into_iter();
    let passed = counts.find(|&(_, current, maximum)| current.saturating_add(gain) > maximum);
    passed.map(|(which, current, maximum)| Outcome::Limit { which, current, maximum })
}
