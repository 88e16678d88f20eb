//! What one can read off the core without changing it.

use std::sync::Arc;

use crate::record::{ClientRecord, LockRecord, WaiterRecord};
use crate::types::FileId;

use super::Core;

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
        std::iter::empty()
    }

    /// The locks on one file, by their first byte.
    pub fn locks_of_file<'a>(
        &'a self,
        file: &FileId,
    ) -> impl Iterator<Item = LockRecord> + use<'a> {
        let _ = file;
        std::iter::empty()
    }

    /// All waiters and unacknowledged grants, the foremost first.
    pub fn waiters(&self) -> impl Iterator<Item = WaiterRecord> + '_ {
        std::iter::empty()
    }

    /// All clients, by name.
    pub fn clients(&self) -> impl Iterator<Item = ClientView> + '_ {
        std::iter::empty()
    }

    /// The grace window, while it is open.
    #[must_use]
    pub fn grace(&self) -> Option<GraceView> {
        None
    }

    /// Counts of now and since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
