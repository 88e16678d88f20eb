//! Clients: their records, and releasing what is theirs.

use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, Outcome, WaitEnd};
use crate::record::{ClientRecord, Record, RecordKey, RecordOp};
use crate::table::{Attrs, ClientSlot, Ids, Put, Standing, Waiter};
use crate::types::{Owner, Token, WaiterId};

/// A release of a client that takes several steps.
#[derive(Debug, Default)]
pub(super) struct Release {
    /// The incarnation whose locks stay.
    keep: Option<u32>,
    /// Who is answered at its end.
    tokens: Vec<Token>,
}

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

    /// Releases everything of a client; `None` where that takes more steps than this.
    pub(super) fn free_all(
        &mut self,
        token: Token,
        client_id: &Arc<str>,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let Some(client) = self.table.names.client(client_id) else {
            return Some(Outcome::Done);
        };
        self.table.names.clients[client].seen_ms = self.now_ms;
        self.release_in_steps(token, client, None, fx)
    }

    /// The same but for what it took since it restarted.
    pub(super) fn client_restarted(
        &mut self,
        token: Token,
        client_id: &str,
        incarnation: u32,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let Some(client) = self.table.names.client(client_id) else {
            return Some(Outcome::Done);
        };
        let outcome = self.release_in_steps(token, client, Some(incarnation), fx);
        let slot = &mut self.table.names.clients[client];
        (slot.seen_ms, slot.incarnation) = (self.now_ms, incarnation);
        if let Some(record) = &mut slot.record
            && record.incarnation != incarnation
        {
            record.incarnation = incarnation;
            fx.push(Effect::Persist(RecordOp::Put(Record::Client(record.clone()))));
        }
        outcome
    }

    /// Begins to release what a client has, and answers once all is gone: a server that dies before
    /// is told of it again.
    fn release_in_steps(
        &mut self,
        token: Token,
        client: u32,
        keep: Option<u32>,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if self.release_client(client, keep, fx) {
            return Some(Outcome::Done);
        }
        let client_id = Arc::clone(&self.table.names.clients[client].id);
        let release = self.releases.entry(client_id).or_default();
        release.keep = keep;
        release.tokens.push(token);
        None
    }

    /// Goes on with one release that takes several steps.
    pub(super) fn go_on_releasing(&mut self, fx: &mut Vec<Effect>) {
        let Some((client_id, release)) = self.releases.pop_first() else { return };
        let client = self.table.names.client(&client_id);
        if client.is_none_or(|client| self.release_client(client, release.keep, fx)) {
            for token in release.tokens {
                self.reply(token, Outcome::Done, fx);
            }
        } else {
            self.releases.insert(client_id, release);
        }
    }

    /// Whether all of a client is being released: what it would take now would go too.
    pub(super) fn is_freed(&self, client_id: &str) -> bool {
        self.releases.get(client_id).is_some_and(|release| release.keep.is_none())
    }

    /// Releases what a client holds and awaits, but for what it took under the incarnation `keep`:
    /// all requests, and [`Config::release_step`](crate::Config::release_step) locks and shares at
    /// the most. Says whether that was all.
    pub(super) fn release_client(
        &mut self,
        client: u32,
        keep: Option<u32>,
        fx: &mut Vec<Effect>,
    ) -> bool {
        // All requests before any lock, or a lock might pass to a request that is about to go.
        if self.table.queue.waiting() + self.table.queue.pending > 0 {
            for owner in self.table.names.clients[client].owners.clone() {
                for waiter in self.table.queue.own_all(owner).collect::<Vec<u32>>() {
                    self.release_waiter(waiter, keep, fx);
                }
            }
        }
        let (table, most) = (&self.table, self.config.release_step);
        let owners = || table.names.clients[client].owners.iter().copied();
        let locks = owners().flat_map(|owner| table.locks.own_all(owner));
        let locks = locks.filter(|&ix| Some(table.locks.get(ix).attrs.incarnation) != keep);
        let locks: Vec<u32> = locks.take(most).collect();
        let shares =
            owners().flat_map(|owner| table.shares.own_all(owner).map(move |file| (owner, file)));
        let shares = shares.filter(|&(owner, file)| {
            table.shares.get(owner, file).map(|share| share.incarnation) != keep
        });
        let shares: Vec<(u32, u32)> = shares.take(most - locks.len()).collect();
        let all = locks.len() + shares.len() < most;
        for lock in locks {
            self.table.release(lock, fx);
        }
        for (owner, file) in shares {
            self.table.release_share(owner, file, fx);
        }
        all
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
