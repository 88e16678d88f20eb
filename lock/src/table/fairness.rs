//! Fairness: how long a newcomer stands behind a request that came before it.
//!
//! Only a held lock makes anybody wait, so shared locks that overlap in time could keep an exclusive
//! request waiting for ever. Therefore a blocking request that nothing held forbids yields to an
//! earlier one that it conflicts with, until [`Config::fair_wait_ms`](crate::Config::fair_wait_ms)
//! after its own arrival. It yields only where its owner holds nothing anywhere and its client holds
//! nothing on the file: nobody can be waiting for what such an owner holds, and a client whose
//! processes wait for each other, which no server sees, is not held up on a file that it is busy
//! with. So whoever holds its locks for less than that time delays the foremost request by no more
//! than it holds them, however many come after. Yielding is never a refusal, it is no edge of the
//! wait-for graph, and a request that does not wait never yields.

use std::collections::BTreeSet;

use super::Table;
use super::locks::opposing;
use super::queue::{Queue, Waiter};
use super::tree::{NOBODY, Placed, Query, WaiterEntry};
use crate::types::{Mode, Range};

/// How many locks on a file are looked at to learn whether a client holds one of them. Where that is
/// not enough the client counts as a holder, and its request does not yield.
const LOOKS_MAX: u32 = 1_000;

/// A request that may yield. What is not known yet holds nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) owner: Option<u32>,
    pub(crate) client: Option<u32>,
    pub(crate) file: u32,
    pub(crate) range: Range,
    pub(crate) mode: Mode,
    /// Its number in the queue: it yields to smaller ones.
    pub(crate) seq: u64,
    /// When it came.
    pub(crate) since_ms: u64,
}

/// The requests that yield at the moment.
#[derive(Debug, Default)]
pub(super) struct Yielding {
    /// By when they no longer do.
    due: BTreeSet<(u64, u64)>,
    /// By file and client.
    places: BTreeSet<(u32, u32, u64)>,
}

impl Queue {
    /// When the next request stops yielding.
    pub(crate) fn next_yielding_ms(&self) -> Option<u64> {
        self.yielding.due.first().map(|&(until_ms, _)| until_ms)
    }

    /// Notes that a waiting request yields until then; 0 = not or no more.
    pub(super) fn set_yielding(&mut self, ix: u32, client: u32, until_ms: u64) {
        let (seq, file) = (self.seq(ix), self.get(ix).file);
        let before = std::mem::replace(self.yields_until_mut(ix), until_ms);
        if before == until_ms {
            return;
        }
        let Yielding { due, places } = &mut self.yielding;
        due.remove(&(before, seq));
        if until_ms > 0 {
            due.insert((until_ms, seq));
            places.insert((file, client, seq));
        } else {
            places.remove(&(file, client, seq));
        }
    }

    /// Those that yield on the file, of one client or of all.
    fn yielding_on(&self, file: u32, client: Option<u32>) -> impl Iterator<Item = u64> {
        let (least, most) = client.map_or((0, u32::MAX), |client| (client, client));
        let places = &self.yielding.places;
        let found = places.range((file, least, 0)..=(file, most, u64::MAX));
        found.map(|&(_, _, seq)| seq)
    }
}

impl Table {
    /// Until when a request yields that nothing held forbids; `None` = it does not.
    pub(crate) fn yields_until(&self, newcomer: &Newcomer, now_ms: u64) -> Option<u64> {
        let &Newcomer { owner, client, file, since_ms, .. } = newcomer;
        let until_ms = since_ms.saturating_add(self.fair_wait_ms);
        let holds = |owner| self.locks.own_all(owner).next().is_some();
        let yields = until_ms > now_ms
            && self.is_behind(newcomer)
            && !owner.is_some_and(holds)
            && !client.is_some_and(|client| self.client_holds_on(client, file));
        yields.then_some(until_ms)
    }

    /// Whether an earlier request of another owner wants what this one conflicts with.
    fn is_behind(&self, newcomer: &Newcomer) -> bool {
        let &Newcomer { owner, file, range, mode, seq, .. } = newcomer;
        let query = Query { range, except: owner.unwrap_or(NOBODY), before: seq };
        let slot = &self.names.files[file];
        opposing(mode).iter().any(|&other| slot.queue(other).find(&query, &mut |_| true).is_some())
    }

    /// Calls `visit` for each earlier request of another owner that conflicts with a waiting one,
    /// until it says so.
    pub(crate) fn each_ahead(&self, ix: u32, mut visit: impl FnMut(u32) -> bool) {
        let &Waiter { owner, file, mode, .. } = self.queue.get(ix);
        let query =
            Query { range: self.queue.range(ix), except: owner, before: self.queue.seq(ix) };
        let visit = &mut |entry: &WaiterEntry| visit(entry.ix());
        let slot = &self.names.files[file];
        opposing(mode).iter().find_map(|&other| slot.queue(other).find(&query, visit));
    }

    fn client_holds_on(&self, client: u32, file: u32) -> bool {
        if self.names.clients[client].held == 0 {
            return false;
        }
        let mut looks = 0;
        let query = Query { range: Range::ALL, except: NOBODY, before: u64::MAX };
        [Mode::Shared, Mode::Exclusive].into_iter().any(|mode| {
            let holds = self.find_lock(file, mode, &query, &mut |entry| {
                looks += 1;
                looks > LOOKS_MAX || self.names.owners[entry.owner].client == client
            });
            holds.is_some()
        })
    }

    /// Notes whether a waiting request yields.
    pub(crate) fn note_yielding(&mut self, ix: u32, until_ms: Option<u64>) {
        let client = self.names.owners[self.queue.get(ix).owner].client;
        self.queue.set_yielding(ix, client, until_ms.unwrap_or(0));
    }

    /// Has those looked at who have yielded for long enough.
    pub(crate) fn wake_yielding(&mut self, now_ms: u64) {
        let due = self.queue.yielding.due.range(..=(now_ms, u64::MAX));
        self.woken.extend(due.map(|&(_, seq)| seq));
    }

    /// Has those looked at who no longer yield because their owner or client got a lock.
    pub(super) fn wake_yielding_of(&mut self, owner: u32, file: u32) {
        if self.queue.yielding.due.is_empty() {
            return;
        }
        let client = self.names.owners[owner].client;
        let own = self.queue.own_all(owner).filter(|&ix| self.queue.yields_until(ix) > 0);
        self.woken.extend(own.map(|ix| self.queue.seq(ix)));
        self.woken.extend(self.queue.yielding_on(file, Some(client)));
    }

    /// Has those looked at who may have yielded to a request that is gone.
    pub(super) fn wake_yielding_to(&mut self, file: u32, seq: u64, range: Range, mode: Mode) {
        if self.queue.yielding.due.is_empty() {
            return;
        }
        for behind in self.queue.yielding_on(file, None).filter(|&behind| behind > seq) {
            if let Some(ix) = self.queue.by_seq(behind)
                && self.queue.range(ix).overlaps(range)
                && self.queue.get(ix).mode.conflicts(mode)
            {
                self.woken.push(behind);
            }
        }
    }
}
