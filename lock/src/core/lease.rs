//! Clients that are gone while others wait for their locks: who they are, and releasing that much.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, TakenWhy};
use crate::table::Held;

/// A client that keeps others waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Which client.
    pub client_id: Arc<str>,
    /// How to reach it: [`LockRequest::contact`](crate::LockRequest::contact).
    pub contact: Arc<[u8]>,
    /// When it last asked for anything, on the core's clock; 0 = not since the start.
    pub seen_ms: u64,
}

impl Core {
    /// The clients whose locks, acknowledged or not, keep waiters of other clients waiting; by
    /// name. Left out are those without a contact, of which nobody can know whether they are
    /// there, and all of them while a grace window is open, where no release would serve anybody.
    ///
    /// Looks at `edges_max` locks in the way at the most, for the foremost waiters first: whoever
    /// is beyond that is found once those are served.
    #[must_use]
    pub fn blocking_clients(&self, edges_max: u64) -> Vec<Blocking> {
        let mut found = BTreeSet::new();
        if self.grace.is_some() {
            return Vec::new();
        }
        let (table, mut edges_left) = (&self.table, edges_max);
        for ix in table.queue.in_order() {
            let waiter = table.queue.get(ix);
            if waiter.granted.is_some() {
                continue;
            }
            let client = table.names.owners[waiter.owner].client;
            let range = table.queue.range(ix);
            table.find_blocker(Some(waiter.owner), waiter.file, range, waiter.mode, |lock| {
                let holder = table.names.owners[table.locks.get(lock).owner].client;
                if holder != client {
                    found.insert(holder);
                }
                edges_left = edges_left.saturating_sub(1);
                edges_left == 0
            });
            if edges_left == 0 {
                break;
            }
        }
        let view = |client: u32| {
            let slot = &table.names.clients[client];
            let contact = Arc::clone(&slot.record.as_ref()?.contact);
            Some(Blocking { client_id: Arc::clone(&slot.id), contact, seen_ms: slot.seen_ms })
        };
        let mut blocking: Vec<Blocking> = found.into_iter().filter_map(view).collect();
        blocking.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        blocking
    }

    /// Releases what a client that answers nothing has in others' way.
    pub(super) fn client_silent(&mut self, client_id: &str, since_ms: u64, fx: &mut Vec<Effect>) {
        let Some(client) = self.table.names.client(client_id) else {
            return;
        };
        if self.grace.is_some() || self.table.names.clients[client].seen_ms >= since_ms {
            return;
        }
        // An unacknowledged grant ends first, that of less over what is taken too. Its pieces may
        // merge by that, so they are sought anew.
        let table = &self.table;
        let grants_over = |ix: u32| {
            let &Held { owner, file, .. } = table.locks.get(ix);
            table.grants_in(owner, file, table.locks.range(ix))
        };
        let grants: BTreeSet<u32> =
            self.in_others_way(client).into_iter().flat_map(grants_over).collect();
        for waiter in grants {
            self.take_waiter(waiter, fx);
        }
        let locks = self.in_others_way(client);
        let client_id = Arc::clone(&self.table.names.clients[client].id);
        self.take_away(client_id, TakenWhy::Silent { since_ms }, &locks, &[], fx);
    }

    /// The client's locks for which a waiter of another client waits.
    fn in_others_way(&self, client: u32) -> Vec<u32> {
        let owners = self.table.names.clients[client].owners.iter();
        let locks = owners.flat_map(|&owner| self.table.locks.own_all(owner));
        locks.filter(|&lock| self.table.is_awaited(lock)).collect()
    }
}
