//! An administrator's clear: what must be gone after it, and what must stay.

use std::sync::Arc;

use cleat_lock::{Clear, Input, LockId, LockRecord, Outcome, Token, WaiterId};
use uuid::Uuid;

use super::World;
use super::server::file_id;
use super::table::{Lock, Share, Table, Waiter, Who};
use super::types::Order;

/// Of what is ordered to be cleared: everything where nothing is said.
struct Ordered {
    host: Option<usize>,
    file: Option<usize>,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    All,
    Lock(Lock),
    Waiter(WaiterId),
}

impl Ordered {
    fn covers(&self, who: Who, file: usize) -> bool {
        self.host.is_none_or(|host| host == who.0) && self.file.is_none_or(|of| of == file)
    }

    fn lock(&self, lock: &Lock) -> bool {
        match &self.kind {
            Kind::All => self.covers(lock.who, lock.span.file),
            Kind::Lock(one) => one == lock,
            Kind::Waiter(_) => false,
        }
    }

    fn waiter(&self, waiter: &Waiter) -> bool {
        match &self.kind {
            Kind::All => self.covers(waiter.who, waiter.span.file),
            Kind::Lock(_) => false,
            Kind::Waiter(one) => waiter.waiter == *one,
        }
    }

    fn share(&self, share: &Share) -> bool {
        self.kind == Kind::All && self.covers(share.who, share.file)
    }

    /// Whether there is anything of it.
    fn is_any_in(&self, table: &Table) -> bool {
        table.locks.iter().any(|lock| self.lock(lock))
            || table.waiting().any(|waiter| self.waiter(waiter))
            || table.shares.iter().any(|share| self.share(share))
    }

    /// Something that is gone from the table though nobody ordered it.
    fn missing(&self, before: &Table, after: &Table) -> Option<String> {
        // What a grant gave may go back with it to what was there before.
        let under_grant = |lock: &Lock| {
            let mut ending = before.granted().filter(|it| it.who == lock.who && self.lets_end(it));
            ending.any(|grant| lock.span.cells().any(|cell| grant.span.has(cell)))
        };
        let ordered = |lock: &Lock| self.lock(lock) || under_grant(lock);
        let lock = before.locks.iter().filter(|lock| !ordered(lock)).find(|lock| {
            !lock.span.cells().all(|cell| after.covers(lock.who, cell, lock.span.mode))
        });
        let share = before.shares.iter().filter(|share| !self.share(share));
        let share = share.copied().find(|s| !after.reserves(s.who, s.file, s.deal));
        // A wait may end when its turn comes: by a limit, say. A grant may not.
        let grant = before.granted().find(|grant| {
            !self.waiter(grant)
                && !self.lets_end(grant)
                && !after.granted().any(|other| other.waiter == grant.waiter)
        });
        lock.map(|lock| format!("{lock:?}"))
            .or_else(|| share.map(|share| format!("{share:?}")))
            .or_else(|| grant.map(|grant| format!("{grant:?}")))
    }

    /// Whether a request may end with the lock: a grant of it.
    fn lets_end(&self, waiter: &Waiter) -> bool {
        matches!(&self.kind, Kind::Lock(lock) if lock.who == waiter.who && waiter.granted)
    }
}

impl World {
    /// What the clients are not told, they cannot know: what is gone is set apart as lost.
    pub fn clear(&mut self, token: Token, order: Order) {
        let Some((what, ordered)) = self.what_to_clear(order) else { return };
        let Some(server) = &self.server else { return };
        let before = server.table.clone();
        let id = LockId::new(Uuid::from_u128(u128::from(token.0)));
        let outcome = self.step(Input::Clear { token, id, what });
        match outcome {
            Some(Outcome::Cleared(_)) => self.met.note("cleared by order"),
            Some(Outcome::NotFound) if !ordered.is_any_in(&before) => {}
            other => self.fail(|| format!("{order:?}: {other:?}")),
        }
        let Some(server) = &self.server else { return };
        if ordered.kind == Kind::All && ordered.is_any_in(&server.table) {
            self.fail(|| format!("left of {order:?}"));
        } else if let Some(gone) = ordered.missing(&before, &server.table) {
            self.fail(|| format!("gone by {order:?}: {gone}"));
        }
        self.mark_ordered(&ordered);
    }

    fn mark_ordered(&mut self, ordered: &Ordered) {
        for host in 0..self.hosts.len() {
            if ordered.host.is_none_or(|of| of == host) {
                self.hosts[host].cleared = self.steps;
                self.mark_lost(Some(host));
            }
        }
        if let Kind::Lock(Lock { who, span, .. }) = ordered.kind {
            // A grant to the owner itself may have the bytes since. Of that it knows nothing.
            let held = &mut self.hosts[who.0].processes[who.1].held;
            let gone = held.iter_mut().filter(|&(&place, _)| span.has(place));
            gone.for_each(|(_, held)| held.lost = true);
        }
    }

    fn what_to_clear(&self, order: Order) -> Option<(Clear, Ordered)> {
        let server = self.server.as_ref()?;
        let client = |host: usize| Arc::clone(&self.names[host].client_id);
        let of = |host, file, kind| Ordered { host, file, kind };
        Some(match order {
            Order::Host(host) => (Clear::Client(client(host)), of(Some(host), None, Kind::All)),
            Order::File(file) => (Clear::File(file_id(file)), of(None, Some(file), Kind::All)),
            Order::HostOnFile(host, file) => (
                Clear::ClientOnFile(client(host), file_id(file)),
                of(Some(host), Some(file), Kind::All),
            ),
            Order::Lock(pick) => {
                let locks: Vec<_> = server.core.locks().collect();
                let at = pick.checked_rem(locks.len())?;
                let LockRecord { id, owner, file, range, .. } = locks[at].clone();
                let lock = server.table.locks[at];
                let what = Clear::Lock { lock: id, owner, file, range };
                (what, of(Some(lock.who.0), Some(lock.span.file), Kind::Lock(lock)))
            }
            Order::Waiter(pick) => {
                let waiting: Vec<_> = server.table.waiting().collect();
                let waiter = *waiting.get(pick.checked_rem(waiting.len())?)?;
                let (host, file) = (waiter.who.0, waiter.span.file);
                let what = Clear::Waiter(waiter.waiter);
                (what, of(Some(host), Some(file), Kind::Waiter(waiter.waiter)))
            }
        })
    }
}
