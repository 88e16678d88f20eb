//! What the core counts: plain values, copied out whole, so that nobody stops it to look.

use super::Core;

/// How long those waited who got their lock after a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitTimes {
    /// By duration: in the first place those up to the first of [`WaitTimes::BOUNDS_MS`], and so
    /// on; in the last place those beyond all bounds. Each is counted once (not cumulative).
    pub counts: [u64; WaitTimes::BOUNDS_MS.len() + 1],
    /// All together, in milliseconds.
    pub sum_ms: u64,
}

impl WaitTimes {
    /// The longest duration that each place but the last one counts, in milliseconds.
    pub const BOUNDS_MS: [u64; 10] = [1, 5, 25, 100, 500, 1_000, 5_000, 30_000, 60_000, 300_000];

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, waited_ms: u64) {
        let place = WaitTimes::BOUNDS_MS.partition_point(|&bound_ms| bound_ms < waited_ms);
        self.counts[place] += 1;
        self.sum_ms = self.sum_ms.saturating_add(waited_ms);
    }
}

/// What happened since the start, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Now: locks held.
    pub locks: u64,
    /// Now: share reservations.
    pub shares: u64,
    /// Now: files with a lock, a share or a waiter.
    pub files: u64,
    /// Now: owners that hold or await something.
    pub owners: u64,
    /// Now: clients known.
    pub clients: u64,
    /// Now: requests that wait.
    pub waiting: u64,
    /// Now: grants not yet acknowledged.
    pub unacknowledged: u64,
    /// Now: disconnected clients that may still come back.
    pub leaving: u64,
    /// Now: locks and shares that wait to be reclaimed.
    pub unreclaimed: u64,
    /// Now: how long the grace window stays open at the most, in milliseconds; 0 = it is closed.
    pub grace_left_ms: u64,
    /// Since the start: locks granted at once.
    pub granted: u64,
    /// Since the start: locks granted after a wait.
    pub granted_waited: u64,
    /// Since the start: how long those waited.
    pub waits: WaitTimes,
    /// Since the start: share reservations granted.
    pub shared: u64,
    /// Since the start: share reservations given up by their owners.
    pub unshared: u64,
    /// Since the start: reclaims granted.
    pub reclaimed: u64,
    /// Since the start: unlocks.
    pub unlocked: u64,
    /// Since the start: requests refused because of a conflict.
    pub refused_conflict: u64,
    /// Since the start: share reservations refused because of others'.
    pub refused_share: u64,
    /// Since the start: requests refused in grace.
    pub refused_grace: u64,
    /// Since the start: requests refused because of a limit.
    pub refused_limit: u64,
    /// Since the start: reclaims refused.
    pub refused_reclaim: u64,
    /// Since the start: upgrades and orders that named what is not there.
    pub refused_not_found: u64,
    /// Since the start: requests refused because of a deadlock.
    pub deadlocks: u64,
    /// Since the start: searches for a deadlock that ended at their limit, without a result.
    pub deadlock_searches_cut: u64,
    /// Since the start: requests that began to wait.
    pub blocked: u64,
    /// Since the start: waiters cancelled or dropped with their client.
    pub cancelled: u64,
    /// Since the start: waiters whose client stopped re-sending.
    pub expired: u64,
    /// Since the start: waiters told that their time is over.
    pub timed_out: u64,
    /// Since the start: clients that did not come back after they were disconnected.
    pub lapsed: u64,
    /// Since the start: locks and shares taken from clients that did not come back or went silent,
    /// or that another client contradicted over records that were advice.
    pub taken: u64,
    /// Since the start: locks, shares and waiters released by an administrator's clear.
    pub cleared: u64,
    /// Since the start: grants rolled back.
    pub rolled_back: u64,
}

impl Core {
    /// Counts of now and since the start: a copy of some hundred bytes, at no cost to the core.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            locks: self.table.locks.len(),
            shares: self.table.shares.len(),
            files: self.table.names.files.len() as u64,
            owners: self.table.names.owners.len() as u64,
            clients: self.table.names.clients.len() as u64,
            waiting: self.table.queue.waiting(),
            unacknowledged: self.table.queue.pending,
            leaving: self.leaving.len() as u64,
            unreclaimed: self.unreclaimed(),
            grace_left_ms: self.grace_left_ms().unwrap_or(0),
            deadlock_searches_cut: self.table.deadlock_searches_cut(),
            ..self.counters
        }
    }
}
