//! What one can read off the core without changing it.

use std::sync::Arc;

use super::Core;
use crate::record::{ClientRecord, LockRecord, Record, WaiterRecord};
use crate::table::ClientSlot;
use crate::types::{FileId, Range};

/// The open grace window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraceView {
    /// When it closes at the latest, on the core's clock.
    pub until_ms: u64,
    /// Whether it may close as soon as nothing is left.
    pub exact: bool,
    /// Reclaims of recorded locks granted so far.
    pub reclaimed: u64,
    /// Locks still waited for.
    pub left: u64,
}

/// A client the core knows: on record, or holding or awaiting something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientView {
    /// Which client.
    pub client_id: Arc<str>,
    /// Its record; `None` where it left no contact.
    pub record: Option<ClientRecord>,
    /// Locks it holds.
    pub locks: u64,
    /// Requests of its that wait.
    pub waiters: u64,
    /// When it last asked for anything, on the core's clock; 0 = not since the start.
    pub seen_ms: u64,
}

/// What happened since the start, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Now: locks held.
    pub locks: u64,
    /// Now: files with a lock or a waiter.
    pub files: u64,
    /// Now: owners that hold or await something.
    pub owners: u64,
    /// Now: clients known.
    pub clients: u64,
    /// Now: requests that wait.
    pub waiting: u64,
    /// Now: grants not yet acknowledged.
    pub unacknowledged: u64,
    /// Since the start: locks granted at once.
    pub granted: u64,
    /// Since the start: locks granted after a wait.
    pub granted_waited: u64,
    /// Since the start: reclaims granted.
    pub reclaimed: u64,
    /// Since the start: unlocks.
    pub unlocked: u64,
    /// Since the start: requests refused because of a conflict.
    pub refused_conflict: u64,
    /// Since the start: requests refused in grace.
    pub refused_grace: u64,
    /// Since the start: requests refused because of a limit.
    pub refused_limit: u64,
    /// Since the start: reclaims refused.
    pub refused_reclaim: u64,
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
    /// Since the start: grants rolled back.
    pub rolled_back: u64,
}

impl Core {
    /// All held locks, in no particular but a repeatable order.
    pub fn locks(&self) -> impl Iterator<Item = LockRecord> + '_ {
        self.table.locks.numbers().map(|ix| self.table.lock_record(ix))
    }

    /// The locks on one file that overlap a range, by their first byte.
    #[must_use]
    pub fn locks_of_file(&self, file: &FileId, range: Range) -> Vec<LockRecord> {
        let mut found = Vec::new();
        if let Some(file) = self.table.names.file(file) {
            self.table.each_lock(file, range, &mut |ix| found.push(self.table.lock_record(ix)));
        }
        found.sort_by_key(|lock| (lock.range, lock.id));
        found
    }

    /// The locks of one client, by owner, file and place.
    pub fn locks_of_client(&self, client_id: &str) -> impl Iterator<Item = LockRecord> + '_ {
        let names = &self.table.names;
        let owners = names.client(client_id).map(|client| &names.clients[client].owners);
        let locks = owners.into_iter().flatten().flat_map(|&o| self.table.locks.own_all(o));
        locks.map(|ix| self.table.lock_record(ix))
    }

    /// All waiters and unacknowledged grants, the foremost first.
    pub fn waiters(&self) -> impl Iterator<Item = WaiterRecord> + '_ {
        self.table.queue.in_order().map(|ix| self.table.waiter_record(ix))
    }

    /// All clients, by name.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientView> {
        let mut clients: Vec<ClientView> =
            self.table.names.clients.iter().map(|(_, slot)| view_client(slot)).collect();
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        clients
    }

    /// One client, if it is known.
    #[must_use]
    pub fn client(&self, client_id: &str) -> Option<ClientView> {
        let client = self.table.names.client(client_id)?;
        Some(view_client(&self.table.names.clients[client]))
    }

    /// The whole durable image, as a restore would want it; in no particular but a repeatable
    /// order.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let clients = self.table.names.clients.iter();
        let clients = clients.filter_map(|(_, slot)| slot.record.clone()).map(Record::Client);
        clients.chain(self.locks().map(Record::Lock)).chain(self.waiters().map(Record::Waiter))
    }

    /// The grace window, while it is open.
    #[must_use]
    pub fn grace(&self) -> Option<GraceView> {
        let window = self.grace.as_ref()?;
        Some(GraceView {
            until_ms: window.until_ms,
            exact: window.exact,
            reclaimed: window.reclaimed,
            left: self.table.locks.unreclaimed,
        })
    }

    /// Counts of now and since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            locks: self.table.locks.len(),
            files: self.table.names.files.len() as u64,
            owners: self.table.names.owners.len() as u64,
            clients: self.table.names.clients.len() as u64,
            waiting: self.table.queue.waiting(),
            unacknowledged: self.table.queue.pending,
            deadlock_searches_cut: self.table.deadlock_searches_cut(),
            ..self.counters
        }
    }
}

fn view_client(slot: &ClientSlot) -> ClientView {
    ClientView {
        client_id: Arc::clone(&slot.id),
        record: slot.record.clone(),
        locks: slot.held,
        waiters: slot.waiting,
        seen_ms: slot.seen_ms,
    }
}
