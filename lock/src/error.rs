//! The facts of every refusal, as fields. A leaf: it imports nothing of ours, so all may import it.

use std::fmt;
use std::sync::Arc;

/// Which bound a request would have passed. Units: each counts things, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Locks on one file.
    LocksPerFile,
    /// Locks of one client.
    LocksPerClient,
    /// Locks in the whole table.
    LocksTotal,
    /// Requests waiting on one file.
    WaitersPerFile,
    /// Requests waiting for one client.
    WaitersPerClient,
    /// Share reservations on one file.
    SharesPerFile,
    /// Share reservations of one client.
    SharesPerClient,
    /// Share reservations in the whole table.
    SharesTotal,
    /// Clients known at the same time.
    Clients,
    /// Clients of one source known at the same time.
    ClientsPerSource,
    /// Locks, waiting requests and share reservations of all clients of one source.
    ClaimsPerSource,
    /// Bytes of the names of one source's owners.
    OwnerBytesPerSource,
    /// Bytes of the names of all owners.
    OwnerBytesTotal,
}

impl Limit {
    /// The name under which the configuration and the log know this limit.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Limit::LocksPerFile => "locks_per_file",
            Limit::LocksPerClient => "locks_per_client",
            Limit::LocksTotal => "locks_total",
            Limit::WaitersPerFile => "waiters_per_file",
            Limit::WaitersPerClient => "waiters_per_client",
            Limit::SharesPerFile => "shares_per_file",
            Limit::SharesPerClient => "shares_per_client",
            Limit::SharesTotal => "shares_total",
            Limit::Clients => "clients",
            Limit::ClientsPerSource => "clients_per_source",
            Limit::ClaimsPerSource => "claims_per_source",
            Limit::OwnerBytesPerSource => "owner_bytes_per_source",
            Limit::OwnerBytesTotal => "owner_bytes_total",
        }
    }
}

/// Why a request got no lock, for a log line or for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockError {
    /// Another owner holds a range that conflicts.
    Conflict {
        /// Who.
        owner_id: Arc<str>,
        /// First byte of that owner's range.
        offset: u64,
        /// Its length in bytes, 0 = to the end of the file.
        length: u64,
        /// Whether that range is exclusive.
        exclusive: bool,
    },
    /// Another owner's share reservation of the file excludes this one.
    ShareConflict {
        /// Who.
        owner_id: Arc<str>,
        /// Whether that owner may read.
        reads: bool,
        /// Whether that owner may write.
        writes: bool,
        /// Whether it lets nobody else read.
        denies_reading: bool,
        /// Whether it lets nobody else write.
        denies_writing: bool,
    },
    /// Waiting would close this cycle: each owner waits for the next, the last for the first.
    Deadlock {
        /// Owner ids, the refused one first.
        cycle: Vec<Arc<str>>,
    },
    /// Only reclaims are admitted for now.
    GracePeriod {
        /// Milliseconds until the window closes at the latest.
        left_ms: u64,
    },
    /// A bound is reached; nothing was changed.
    LimitExceeded {
        /// Which bound.
        which: Limit,
        /// The count before the request.
        current: u64,
        /// The bound.
        maximum: u64,
    },
    /// The owner holds no such lock.
    NotFound,
    /// What was to be reclaimed is not on record, and no grace window is open to admit it.
    ReclaimRefused,
    /// The client cannot be forgotten.
    StillHolds {
        /// The locks it holds.
        locks: u64,
        /// The requests of its that wait.
        waiters: u64,
        /// Its share reservations.
        shares: u64,
    },
    /// No further client is taken.
    ConnectionLimit {
        /// Which bound: [`Limit::Clients`] or [`Limit::ClientsPerSource`].
        which: Limit,
        /// Clients now.
        current: u64,
        /// The bound.
        maximum: u64,
    },
    /// The record could not be made durable.
    Store {
        /// What kind of failure.
        fault: StoreFault,
        /// What the store said.
        text: String,
    },
}

/// What kind of failure a store had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// It could not write or read.
    Failed,
    /// It holds what is no record.
    Damaged,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Conflict { owner_id, offset, length, exclusive } => {
                let mode = if *exclusive { "exclusive" } else { "shared" };
                write!(f, "conflict: {owner_id} has {mode} offset {offset} length {length}")
            }
            LockError::ShareConflict {
                owner_id,
                reads,
                writes,
                denies_reading,
                denies_writing,
            } => {
                let access = name_access(*reads, *writes);
                let deny = name_access(*denies_reading, *denies_writing);
                write!(f, "share conflict: {owner_id} has access {access} deny {deny}")
            }
            LockError::Deadlock { cycle } => {
                f.write_str("deadlock: ")?;
                for owner_id in cycle {
                    write!(f, "{owner_id} waits for ")?;
                }
                f.write_str(cycle.first().map_or("itself", |first| first))
            }
            LockError::GracePeriod { left_ms } => write!(f, "grace period: {left_ms} ms left"),
            LockError::LimitExceeded { which, current, maximum } => {
                write!(f, "limit exceeded: {} is {current} of {maximum}", which.name())
            }
            LockError::NotFound => f.write_str("lock not found"),
            LockError::ReclaimRefused => {
                f.write_str("reclaim refused: not on record, and grace is over")
            }
            LockError::StillHolds { locks, waiters, shares } => {
                write!(f, "client is in use: {locks} locks, {waiters} waiters, {shares} shares")
            }
            LockError::ConnectionLimit { which, current, maximum } => {
                write!(f, "connection limit reached: {} is {current} of {maximum}", which.name())
            }
            LockError::Store { fault: StoreFault::Failed, text } => {
                write!(f, "store failure: {text}")
            }
            LockError::Store { fault: StoreFault::Damaged, text } => {
                write!(f, "store is damaged: {text}")
            }
        }
    }
}

fn name_access(reading: bool, writing: bool) -> &'static str {
    match (reading, writing) {
        (false, false) => "none",
        (true, false) => "read",
        (false, true) => "write",
        (true, true) => "both",
    }
}

impl std::error::Error for LockError {}
