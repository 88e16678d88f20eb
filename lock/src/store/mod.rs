//! Where records live between two lives of the server: what a driver asks of any store.

#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;

use std::fmt;

pub use memory::{Crash, MemoryStore};

use crate::error::{LockError, StoreFault};
use crate::record::{Record, RecordKey, RecordOp};
use crate::types::FileId;

/// Keeps records. A store is shared, so every call takes `&self`.
///
/// What one [`Store::commit`] wrote is there as a whole or not at all, whatever dies and when. A
/// commit that failed changed nothing, or the store is frozen: nothing later succeeds.
pub trait Store {
    /// Carries out all of the batch, in its order, or nothing of it. What it wrote survives the
    /// death of this process, and with [`Durability::Machine`] that of the machine; then so does every
    /// batch before it.
    ///
    /// # Errors
    /// Where the store cannot write.
    fn commit(&self, batch: &[RecordOp], durability: Durability) -> Result<(), StoreError>;

    /// The records that the query asks for, in the order of their keys.
    ///
    /// # Errors
    /// Where the store cannot read, or holds what is no record.
    fn list(&self, query: &Query<'_>) -> Result<Vec<Record>, StoreError>;

    /// The latest epoch: the number of the server instance that opened the store last; 0 before
    /// the first.
    ///
    /// # Errors
    /// Where the store cannot read.
    fn epoch(&self) -> Result<u64, StoreError>;

    /// Begins the next epoch. It survives the machine when this returns, so no two instances ever
    /// have the same number. `survived` = what the instance before committed cannot have been lost
    /// since.
    ///
    /// # Errors
    /// Where the store cannot write.
    fn next_epoch(&self, survived: bool) -> Result<Epoch, StoreError>;

    /// Notes that no grace window is open any more in this epoch: the records are all that is held,
    /// whatever they lacked at its beginning.
    ///
    /// # Errors
    /// Where the store cannot write.
    fn settle(&self) -> Result<(), StoreError>;

    /// Writes one record.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn put(&self, record: Record, durability: Durability) -> Result<(), StoreError> {
        self.commit(&[RecordOp::Put(record)], durability)
    }

    /// Removes what is under a key, if anything is.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn delete(&self, key: RecordKey, durability: Durability) -> Result<(), StoreError> {
        self.commit(&[RecordOp::Delete(key)], durability)
    }
}

/// What a batch is to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process.
    Process,
    /// The death of the machine.
    Machine,
}

impl Durability {
    /// What this batch needs in a store that is otherwise to survive a process (or, with `power`,
    /// the machine): a client that is not on the disk would not be told of a reboot, and would
    /// lose its locks to others without a word.
    #[must_use]
    pub fn needed(batch: &[RecordOp], power: bool) -> Durability {
        if power || batch.iter().any(RecordOp::is_client) {
            Durability::Machine
        } else {
            Durability::Process
        }
    }
}

/// The life of one server instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: u64,
    /// Whether the records are all that was ever acknowledged. Where something was lost they are
    /// advice, and stay so over any number of restarts until a window was held to its end
    /// ([`Store::settle`]): clients that hold what is not on record may not have said so before.
    pub exact: bool,
}

/// Which records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// All there are.
    All,
    /// Locks, waiters and share reservations of a file.
    File(&'a FileId),
    /// Locks, waiters and share reservations of a client, and its own record.
    Client(&'a str),
    /// Locks, waiters and share reservations of an owner.
    Owner(&'a str),
}

impl Query<'_> {
    /// Whether the query asks for this record.
    #[must_use]
    pub fn wants(&self, record: &Record) -> bool {
        let (owner, file) = match record {
            Record::Lock(lock) => (&lock.owner, &lock.file),
            Record::Waiter(waiter) => (&waiter.owner, &waiter.file),
            Record::Share(share) => (&share.owner, &share.file),
            Record::Client(client) => {
                return match *self {
                    Query::All => true,
                    Query::Client(client_id) => *client.client_id == *client_id,
                    Query::File(_) | Query::Owner(_) => false,
                };
            }
        };
        match *self {
            Query::All => true,
            Query::File(wanted) => file == wanted,
            Query::Client(client_id) => *owner.client_id == *client_id,
            Query::Owner(owner_id) => *owner.owner_id == *owner_id,
        }
    }
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It could not write or read.
    Failed(String),
    /// It holds what is no record.
    Damaged(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Failed(text) => f.write_str(text),
            StoreError::Damaged(text) => write!(f, "damaged: {text}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for LockError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(text) => LockError::Store { fault: StoreFault::Failed, text },
            StoreError::Damaged(text) => LockError::Store { fault: StoreFault::Damaged, text },
        }
    }
}
