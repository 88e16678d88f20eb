//! Locks on record that their clients did not reclaim: how long they stand, and their end.
//!
//! A client that has heard of the restart reclaims at once, so what it has not reclaimed within the
//! time of a grace window is nobody's any more. One that could not be told may come back: what it
//! has stands for [`Config::unreachable_hold_ms`](crate::Config::unreachable_hold_ms) longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, GraceEnd, Taken, TakenWhy};
use crate::table::{Attrs, Held, Standing, Waiter};
use crate::types::Range;

/// Until when what is unreclaimed stands, by client.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// How long a client that was told may take, in milliseconds.
    window_ms: u64,
    by_client: BTreeMap<u32, Hold>,
    due: BTreeSet<(u64, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    until_ms: u64,
    /// Whether the client has heard of the restart.
    reached: bool,
}

impl Holds {
    /// When the next client's time is over.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|&(until_ms, _)| until_ms)
    }

    fn set(&mut self, client: u32, hold: Hold) {
        if let Some(before) = self.by_client.insert(client, hold) {
            self.due.remove(&(before.until_ms, client));
        }
        self.due.insert((hold.until_ms, client));
    }

    /// A client whose time is over, and whether it has heard of the restart.
    fn pop_due(&mut self, now_ms: u64) -> Option<(u32, bool)> {
        let &(until_ms, client) = self.due.first()?;
        if until_ms > now_ms {
            return None;
        }
        self.due.pop_first();
        let hold = self.by_client.remove(&client);
        Some((client, hold.is_some_and(|hold| hold.reached)))
    }

    fn clear(&mut self) {
        self.by_client.clear();
        self.due.clear();
    }
}

impl Core {
    /// Begins the time for reclaiming, `window_ms` milliseconds, for these clients.
    pub(super) fn hold_unreclaimed(&mut self, clients: Vec<u32>, window_ms: u64) {
        let hold_ms = window_ms.saturating_add(self.config.unreachable_hold_ms);
        let until_ms = self.now_ms.saturating_add(hold_ms);
        self.holds.window_ms = window_ms;
        for client in clients {
            self.holds.set(client, Hold { until_ms, reached: false });
        }
    }

    /// Gives a client that heard of the restart the whole time for reclaiming from now on,
    /// however late that is, and no more.
    pub(super) fn client_reached(&mut self, client_id: &str) {
        let Some(client) = self.table.names.client(client_id) else {
            return;
        };
        let Some(&Hold { until_ms, reached: false }) = self.holds.by_client.get(&client) else {
            return;
        };
        let told_ms = self.now_ms.saturating_add(self.holds.window_ms);
        let until_ms = if self.config.unreachable_hold_ms == 0 { until_ms } else { told_ms };
        self.holds.set(client, Hold { until_ms, reached: true });
    }

    /// Forgets the times where nothing is left to reclaim. (Over records that are advice there may
    /// be again: a reclaim may end another's grant.)
    pub(super) fn follow_holds(&mut self) {
        if !self.holds.due.is_empty() && self.unreclaimed() == 0 && !self.records_are_advice() {
            self.holds.clear();
        }
    }

    /// Drops what clients have not reclaimed whose time is over.
    pub(super) fn release_unreclaimed(&mut self, fx: &mut Vec<Effect>) {
        while let Some((client, reached)) = self.holds.pop_due(self.now_ms) {
            let why = if reached { TakenWhy::NotReclaimed } else { TakenWhy::Unreachable };
            self.settle_under_grants(client, fx);
            self.take_unreclaimed(client, why, fx);
        }
    }

    /// Lets stand what a client holds under a grant of less that it was told and has not answered:
    /// it may have taken that, and then has these bytes by it.
    fn settle_under_grants(&mut self, client: u32, fx: &mut Vec<Effect>) {
        let table = &self.table;
        let owners = table.names.clients.get(client).into_iter().flat_map(|slot| &slot.owners);
        let waiters = owners.flat_map(|&owner| table.queue.own_all(owner));
        let granted = |&ix: &u32| table.queue.get(ix).granted.is_some();
        for ix in waiters.filter(granted).collect::<Vec<_>>() {
            let &Waiter { owner, file, .. } = self.table.queue.get(ix);
            self.let_stand(owner, file, self.table.queue.range(ix), fx);
        }
    }

    /// What an owner has in the range is not to be reclaimed any more.
    pub(super) fn let_stand(&mut self, owner: u32, file: u32, range: Range, fx: &mut Vec<Effect>) {
        let locks = &self.table.locks;
        let stands = |&ix: &u32| locks.get(ix).attrs.standing == Standing::Unreclaimed;
        for ix in locks.own_in(owner, file, range).filter(stands).collect::<Vec<_>>() {
            let &Held { attrs, reclaim, .. } = self.table.locks.get(ix);
            let attrs = Attrs { standing: Standing::Settled, ..attrs };
            self.table.restate(ix, attrs, reclaim, false, fx);
        }
    }

    fn take_unreclaimed(&mut self, client: u32, why: TakenWhy, fx: &mut Vec<Effect>) {
        // Its number may be another's by now, or nobody's.
        let Some(slot) = self.table.names.clients.get(client) else {
            return;
        };
        let client_id = Arc::clone(&slot.id);
        let owners: Vec<u32> = slot.owners.iter().copied().collect();
        self.end_grants_over_unreclaimed(&owners, fx);
        let table = &self.table;
        let unreclaimed = |&ix: &u32| table.locks.get(ix).attrs.standing == Standing::Unreclaimed;
        let locks: Vec<u32> = owners
            .iter()
            .flat_map(|&owner| table.locks.own_all(owner))
            .filter(unreclaimed)
            .collect();
        let mut shares = Vec::new();
        for owner in owners {
            let unclaimed =
                |&file: &u32| table.shares.get(owner, file).is_some_and(|share| share.unreclaimed);
            shares.extend(table.shares.own_all(owner).filter(unclaimed).map(|file| (owner, file)));
        }
        self.take_away(client_id, why, &locks, &shares, fx);
    }

    /// A grant of less leaves what is stronger as it was, and must not outlive that.
    fn end_grants_over_unreclaimed(&mut self, owners: &[u32], fx: &mut Vec<Effect>) {
        let table = &self.table;
        let mut grants = BTreeSet::new();
        for &owner in owners {
            for ix in table.locks.own_all(owner) {
                let &Held { file, attrs, .. } = table.locks.get(ix);
                if attrs.standing == Standing::Unreclaimed {
                    grants.extend(table.grants_in(owner, file, table.locks.range(ix)));
                }
            }
        }
        for grant in grants {
            self.take_waiter(grant, fx);
        }
    }

    /// Releases locks and shares (by owner and file) of a client, and says so.
    pub(super) fn take_away(
        &mut self,
        client_id: Arc<str>,
        why: TakenWhy,
        locks: &[u32],
        shares: &[(u32, u32)],
        fx: &mut Vec<Effect>,
    ) {
        if locks.is_empty() && shares.is_empty() {
            return;
        }
        let named = locks.iter().take(Taken::NAMED_MAX).map(|&ix| self.table.lock_record(ix));
        let taken = Taken {
            client_id,
            why,
            locks: locks.len() as u64,
            shares: shares.len() as u64,
            named: named.collect(),
        };
        for &ix in locks {
            self.table.release(ix, fx);
        }
        for &(owner, file) in shares {
            self.table.release_share(owner, file, fx);
        }
        self.counters.taken += taken.locks + taken.shares;
        fx.push(Effect::Taken(taken));
    }

    /// Drops all that nobody reclaimed, at the end of a window beyond which nothing is held; gives
    /// how much that was. Grants `told` in the window keep what is under them.
    pub(super) fn drop_unreclaimed(
        &mut self,
        end: GraceEnd,
        told: bool,
        fx: &mut Vec<Effect>,
    ) -> u64 {
        let before = self.counters.taken;
        for (client, hold) in std::mem::take(&mut self.holds.by_client) {
            let why = match (end, hold.reached) {
                (GraceEnd::Ordered, _) => TakenWhy::Ordered,
                (_, true) => TakenWhy::NotReclaimed,
                (_, false) => TakenWhy::Unreachable,
            };
            if told {
                self.settle_under_grants(client, fx);
            }
            self.take_unreclaimed(client, why, fx);
        }
        self.holds.due.clear();
        self.counters.taken - before
    }
}
