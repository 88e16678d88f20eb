//! Clients: their records, and releasing what is theirs.

use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, Outcome, WaitEnd};
use crate::record::{ClientRecord, Record, RecordKey, RecordOp};
use crate::table::{Attrs, ClientSlot, Ids, Put, Standing, Waiter};
use crate::types::{Owner, WaiterId};

impl Core {
    /// The owner of a request, where it has anything. Its client is there, whatever comes of it.
    pub(super) fn asker(&mut self, owner: &Owner) -> Option<u32> {
        let names = &self.table.names;
        let known = names.owner(owner);
        let client = match known {
            Some(owner) => Some(names.owners[owner].client),
            None => names.client(&owner.client_id),
        };
        if let Some(client) = client {
            self.table.names.clients[client].seen_ms = self.now_ms;
        }
        known
    }

    /// Puts the client of a request on record, where it said how to reach it. Comes before the
    /// first change that depends on it.
    pub(super) fn register(
        &mut self,
        owner: u32,
        incarnation: u32,
        contact: &Arc<[u8]>,
        fx: &mut Vec<Effect>,
    ) {
        let client = self.table.names.owners[owner].client;
        self.record_client(client, incarnation, contact, fx);
    }

    pub(super) fn record_client(
        &mut self,
        client: u32,
        incarnation: u32,
        contact: &Arc<[u8]>,
        fx: &mut Vec<Effect>,
    ) {
        let slot = &mut self.table.names.clients[client];
        (slot.seen_ms, slot.incarnation) = (self.now_ms, incarnation);
        if contact.is_empty() {
            return;
        }
        let since_ms = match &slot.record {
            Some(known) if known.incarnation == incarnation && known.contact == *contact => return,
            Some(known) => known.since_ms,
            None => {
                fx.push(Effect::Monitor { client_id: Arc::clone(&slot.id) });
                self.now_ms
            }
        };
        let client_id = Arc::clone(&slot.id);
        let contact = Arc::clone(contact);
        let record = ClientRecord { client_id, incarnation, contact, since_ms };
        fx.push(Effect::Persist(RecordOp::Put(Record::Client(record.clone()))));
        slot.record = Some(record);
    }

    pub(super) fn free_all(&mut self, client_id: &str, fx: &mut Vec<Effect>) -> Outcome {
        if let Some(client) = self.table.names.client(client_id) {
            self.table.names.clients[client].seen_ms = self.now_ms;
            self.release_client(client, None, fx);
        }
        Outcome::Done
    }

    pub(super) fn client_restarted(
        &mut self,
        client_id: &str,
        incarnation: u32,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let Some(client) = self.table.names.client(client_id) else {
            return Outcome::Done;
        };
        self.release_client(client, Some(incarnation), fx);
        let slot = &mut self.table.names.clients[client];
        (slot.seen_ms, slot.incarnation) = (self.now_ms, incarnation);
        if let Some(record) = &mut slot.record
            && record.incarnation != incarnation
        {
            record.incarnation = incarnation;
            fx.push(Effect::Persist(RecordOp::Put(Record::Client(record.clone()))));
        }
        Outcome::Done
    }

    /// Releases what a client holds and awaits, but for what it took under the incarnation `keep`.
    pub(super) fn release_client(&mut self, client: u32, keep: Option<u32>, fx: &mut Vec<Effect>) {
        let owners: Vec<u32> = self.table.names.clients[client].owners.iter().copied().collect();
        // All waiters before any lock, or a lock might pass to a waiter that is about to go.
        for &owner in &owners {
            let waiters: Vec<u32> = self.table.queue.own_all(owner).collect();
            for waiter in waiters {
                self.release_waiter(waiter, keep, fx);
            }
        }
        for &owner in &owners {
            let locks: Vec<u32> = self.table.locks.own_all(owner).collect();
            for lock in locks {
                if Some(self.table.locks.get(lock).attrs.incarnation) != keep {
                    self.table.release(lock, fx);
                }
            }
            self.release_shares(owner, keep, fx);
        }
    }

    fn release_shares(&mut self, owner: u32, keep: Option<u32>, fx: &mut Vec<Effect>) {
        let files: Vec<u32> = self.table.shares.own_all(owner).collect();
        for file in files {
            let held = self.table.shares.get(owner, file);
            if held.map(|share| share.incarnation) != keep {
                self.table.release_share(owner, file, fx);
            }
        }
    }

    /// Ends a request that its owner did not give up: it may be there, and not know even of a
    /// grant.
    pub(super) fn take_waiter(&mut self, ix: u32, fx: &mut Vec<Effect>) {
        let waiter = WaiterId(self.table.queue.seq(ix));
        let context = Arc::clone(&self.table.queue.get(ix).context);
        self.abandon(ix, fx);
        fx.push(Effect::WaitOver { waiter, context, why: WaitEnd::Released });
    }

    fn release_waiter(&mut self, ix: u32, keep: Option<u32>, fx: &mut Vec<Effect>) {
        let &Waiter { incarnation, ref granted, .. } = self.table.queue.get(ix);
        let granted = granted.is_some();
        let Some(keep) = keep else {
            return self.take_waiter(ix, fx);
        };
        if keep != incarnation {
            if granted {
                // Under it may lie what the owner of the same name took since it restarted.
                let waiter = WaiterId(self.table.queue.seq(ix));
                fx.push(Effect::GrantOver { waiter });
                return self.roll_back(ix, fx);
            }
            return self.abandon(ix, fx);
        }
        self.forget_undo_of_the_dead(ix, keep, fx);
    }

    /// An owner that shows itself in another life awaits nothing from the former: a lock that came
    /// to it would lie over what it has in this one.
    pub(super) fn end_former_life(&mut self, owner: u32, keep: u32, fx: &mut Vec<Effect>) {
        if self.table.queue.waiting() + self.table.queue.pending == 0 {
            return;
        }
        let queue = &self.table.queue;
        let former = |ix: &u32| queue.get(*ix).incarnation != keep;
        for ix in queue.own_all(owner).filter(former).collect::<Vec<u32>>() {
            self.release_waiter(ix, Some(keep), fx);
        }
    }

    /// What died with an old incarnation must not come back when a later grant is rolled back, nor
    /// stand where that grant left it.
    fn forget_undo_of_the_dead(&mut self, ix: u32, keep: u32, fx: &mut Vec<Effect>) {
        let &Waiter { id, owner, file, mode, incarnation, .. } = self.table.queue.get(ix);
        let Some(granted) = self.table.queue.granted_mut(ix) else {
            return;
        };
        let (mut changed, mut bare) = (false, Vec::new());
        for part in &mut granted.undo {
            if let Some((held, from)) = part.held
                && from != keep
            {
                part.held = None;
                changed = true;
                if held > mode {
                    bare.push(part.range);
                }
            }
        }
        let mut ids = Ids::new(id, granted.ids_used);
        let attrs = Attrs { mode, incarnation, standing: Standing::Pending(ix) };
        let put = Put { attrs, now_ms: self.now_ms, blocking: true, reclaim: false };
        for range in bare {
            if let Some(plan) = self.table.plan(owner, file, range, Some(put)) {
                self.table.apply(plan, &mut ids, fx);
            }
        }
        if let Some(granted) = self.table.queue.granted_mut(ix) {
            granted.ids_used = ids.used;
        }
        if changed {
            fx.push(self.table.put_waiter(ix));
        }
    }

    pub(super) fn forget(&mut self, client_id: &str, fx: &mut Vec<Effect>) -> Outcome {
        let Some(client) = self.table.names.client(client_id) else {
            return Outcome::NotFound;
        };
        let slot = &mut self.table.names.clients[client];
        if !slot.owners.is_empty() {
            let &mut ClientSlot { held: locks, waiting: waiters, shares, .. } = slot;
            return Outcome::StillHolds { locks, waiters, shares };
        }
        slot.registered = false;
        self.table.names.client_shrank(client);
        self.stay(client);
        let slot = &mut self.table.names.clients[client];
        if slot.record.take().is_some() {
            let client_id = Arc::clone(&slot.id);
            let key = RecordKey::Client { client_id: Arc::clone(&client_id) };
            fx.push(Effect::Persist(RecordOp::Delete(key)));
            fx.push(Effect::Unmonitor { client_id });
        }
        Outcome::Done
    }

    /// Tells an unacknowledged grant to its client again.
    pub(super) fn tell_grants(&self) -> Vec<Effect> {
        let queue = &self.table.queue;
        queue
            .in_order()
            .filter(|&ix| queue.get(ix).granted.is_some())
            .map(|ix| self.table.grant_message(ix))
            .collect()
    }
}
