//! The durable image of the core: what is on record, under which key.

mod bytes;
mod codec;

use std::fmt;
use std::sync::Arc;

use crate::types::{Access, FileId, LockId, Mode, Owner, Range, WaiterId};

/// The tables, by the first byte of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Held locks.
    Locks = 1,
    /// Waiting requests, and grants not yet acknowledged.
    Waiters = 2,
    /// Clients to notify after a restart.
    Clients = 3,
    /// Share reservations.
    Shares = 4,
}

/// One change to the durable image. All changes of a step belong in one atomic batch.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordOp {
    /// Write the record under its key, over whatever is there.
    Put(Record),
    /// Remove what is under the key.
    Delete(RecordKey),
}

impl RecordOp {
    /// Whether this changes the table of clients. Those changes are to be on stable storage before
    /// anything that depends on them is said, at whatever durability locks are written.
    #[must_use]
    pub fn is_client(&self) -> bool {
        matches!(
            self,
            RecordOp::Put(Record::Client(_)) | RecordOp::Delete(RecordKey::Client { .. })
        )
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A held lock.
    Lock(LockRecord),
    /// A waiting or granted, unacknowledged request.
    Waiter(WaiterRecord),
    /// A client with a contact.
    Client(ClientRecord),
    /// A share reservation.
    Share(ShareRecord),
}

/// A held lock: one piece, in one mode, of one owner.
#[derive(Clone, Debug, PartialEq)]
pub struct LockRecord {
    /// Name of the piece.
    pub id: LockId,
    /// Who holds it.
    pub owner: Owner,
    /// On which file.
    pub file: FileId,
    /// Which bytes.
    pub range: Range,
    /// In which mode.
    pub mode: Mode,
    /// The client's state number when it was taken or reclaimed.
    pub incarnation: u32,
    /// When it was taken, on the core's clock; the oldest time where pieces merged, and where a grant
    /// was taken back, when its owner got back what it had before.
    pub acquired_ms: u64,
    /// Whether its request waited.
    pub blocking: bool,
    /// Whether it was reclaimed after a restart.
    pub reclaim: bool,
}

/// A request that waits, or that was granted and whose client has not yet said it knows.
#[derive(Clone, Debug, PartialEq)]
pub struct WaiterRecord {
    /// Its name and its place: smaller is further ahead.
    pub waiter: WaiterId,
    /// The id its lock gets.
    pub id: LockId,
    /// Who waits.
    pub owner: Owner,
    /// For which file.
    pub file: FileId,
    /// For which bytes.
    pub range: Range,
    /// In which mode.
    pub mode: Mode,
    /// The client's state number.
    pub incarnation: u32,
    /// Since when, on the core's clock.
    pub queued_ms: u64,
    /// How long it is kept after it was last sent, in milliseconds; 0 = for ever. A duration, since
    /// the time for which the server is down is nobody's silence.
    pub silence_ms: u64,
    /// How long it waits at most, however often re-sent, in milliseconds; 0 = for ever.
    pub timeout_ms: u64,
    /// Whether it asked for deadlocks to be found.
    pub find_deadlock: bool,
    /// Whether it is an upgrade: [`Input::Upgrade`](crate::Input::Upgrade).
    pub upgrade: bool,
    /// How to call back.
    pub context: Arc<[u8]>,
    /// Present once it was granted.
    pub granted: Option<Granted>,
}

/// What is needed to take a grant back.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Granted {
    /// How many ids were derived from the waiter's id so far.
    pub ids_used: u32,
    /// What the owner held in the granted range before, ascending, each byte at most once. Bytes
    /// that the owner changed since are left out.
    pub undo: Vec<Undo>,
}

/// What an owner held in a range before a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Which bytes.
    pub range: Range,
    /// Mode and incarnation; `None` = nothing.
    pub held: Option<(Mode, u32)>,
}

/// A client that is to be notified after a restart of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// Which client.
    pub client_id: Arc<str>,
    /// The latest state number it showed.
    pub incarnation: u32,
    /// How to reach it, opaque.
    pub contact: Arc<[u8]>,
    /// Since when it is on record, on the core's clock.
    pub since_ms: u64,
}

/// A share reservation: one owner's, on one file.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareRecord {
    /// Whose.
    pub owner: Owner,
    /// On which file.
    pub file: FileId,
    /// What the owner may do.
    pub access: Access,
    /// What nobody else may do.
    pub deny: Access,
    /// The client's state number when it was taken or reclaimed.
    pub incarnation: u32,
    /// When it was taken, on the core's clock.
    pub acquired_ms: u64,
    /// Whether it was reclaimed after a restart.
    pub reclaim: bool,
}

/// The key of a record. Keys sort by table, then file, so all of a file is one prefix:
/// [`RecordKey::file_prefix`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// Key of a lock.
    Lock {
        /// On which file.
        file: FileId,
        /// Which piece.
        id: LockId,
    },
    /// Key of a waiter.
    Waiter {
        /// For which file.
        file: FileId,
        /// Which one.
        waiter: WaiterId,
    },
    /// Key of a client.
    Client {
        /// Which client.
        client_id: Arc<str>,
    },
    /// Key of a share reservation.
    Share {
        /// On which file.
        file: FileId,
        /// Whose: [`Owner::owner_id`].
        owner_id: Arc<str>,
    },
}

impl Record {
    /// The record's key.
    #[must_use]
    pub fn record_key(&self) -> RecordKey {
        match self {
            Record::Lock(lock) => RecordKey::Lock { file: lock.file.clone(), id: lock.id },
            Record::Waiter(w) => RecordKey::Waiter { file: w.file.clone(), waiter: w.waiter },
            Record::Client(c) => RecordKey::Client { client_id: Arc::clone(&c.client_id) },
            Record::Share(share) => RecordKey::Share {
                file: share.file.clone(),
                owner_id: Arc::clone(&share.owner.owner_id),
            },
        }
    }

    /// The record's key as bytes.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        self.record_key().to_bytes()
    }
}

/// Why stored bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Bytes are missing.
    Truncated,
    /// Bytes are left over.
    Trailing,
    /// Written by a version this one does not know: its number.
    Version(u8),
    /// A field has a value it cannot have: the field's name.
    Invalid(&'static str),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Truncated => f.write_str("record is cut short"),
            RecordError::Trailing => f.write_str("record has bytes left over"),
            RecordError::Version(version) => write!(f, "record has unknown version {version}"),
            RecordError::Invalid(field) => {
                write!(f, "record field {field} has an impossible value")
            }
        }
    }
}

impl std::error::Error for RecordError {}
