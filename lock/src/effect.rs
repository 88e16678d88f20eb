//! What the core wants done: records made durable, replies, callbacks, and lines for the log.

use std::sync::Arc;

use crate::core::Cleared;
use crate::error::{Limit, LockError};
use crate::record::{LockRecord, RecordOp};
use crate::types::{Access, FileId, Mode, Owner, Range, Token, WaiterId};

/// One thing to do. The driver makes every [`Effect::Persist`] of a step durable *before* it acts on
/// any other effect of that step: nothing is said to a client that is not on record.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Change the table of records.
    Persist(RecordOp),
    /// Answer a request.
    Reply {
        /// Which request.
        token: Token,
        /// The answer.
        outcome: Outcome,
    },
    /// Tell a waiter it has its lock, again and again until it answers
    /// ([`Input::GrantOutcome`](crate::Input::GrantOutcome)) or until [`Effect::GrantOver`].
    Grant(Grant),
    /// Stop telling it: it acknowledged otherwise, unlocked, or is gone.
    GrantOver {
        /// Which grant.
        waiter: WaiterId,
    },
    /// A waiter is forgotten, though nobody cancelled it: it will not get its lock, and where it was
    /// granted and not acknowledged it has it no more. Clients that send what is blocked again need
    /// not be told.
    WaitOver {
        /// Which request.
        waiter: WaiterId,
        /// How to call back: from the latest request.
        context: Arc<[u8]>,
        /// Why.
        why: WaitEnd,
    },
    /// A client with a contact is on record from now on: watch it, and notify it after a restart.
    Monitor {
        /// Which client.
        client_id: Arc<str>,
    },
    /// The client's record is dropped.
    Unmonitor {
        /// Which client.
        client_id: Arc<str>,
    },
    /// A client stayed away for too long after it was disconnected: all it had is released.
    Lapsed {
        /// Which client.
        client_id: Arc<str>,
    },
    /// Locks were taken from a client that did not give them up, for the log.
    Taken(Taken),
    /// News of the grace window, for the log.
    Grace(GraceEvent),
}

/// What a client lost without its word.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Which client.
    pub client_id: Arc<str>,
    /// Why.
    pub why: TakenWhy,
    /// How many locks, by piece.
    pub locks: u64,
    /// How many share reservations.
    pub shares: u64,
    /// The first of the locks, at most [`Taken::NAMED_MAX`].
    pub named: Vec<LockRecord>,
}

impl Taken {
    /// How many locks are named at most: a client may lose a million, and a log is for people.
    pub const NAMED_MAX: usize = 8;
}

/// Why locks were taken from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenWhy {
    /// It did not reclaim them and has not acknowledged the restart, and they stand no longer.
    Unreachable,
    /// It acknowledged the restart and did not reclaim them.
    NotReclaimed,
    /// The grace window was ended by order, before it reclaimed them.
    Ordered,
    /// The records were advice, and another client reclaimed the same first.
    Contradicted {
        /// Which client.
        by: Arc<str>,
    },
    /// They were in somebody's way and it has answered nothing since then.
    Silent {
        /// On the core's clock.
        since_ms: u64,
    },
}

/// A lock handed to a waiter. It is held from this moment, acknowledged or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names the grant.
    pub waiter: WaiterId,
    /// Who waited.
    pub owner: Owner,
    /// Which file.
    pub file: FileId,
    /// The range as requested, never as merged.
    pub range: Range,
    /// The mode as requested.
    pub mode: Mode,
    /// How to call back: from the latest request.
    pub context: Arc<[u8]>,
    /// Whether an earlier life of the server may have told it, because the grant was on record when
    /// the table was restored. A client that took its lock then may deny to want it when it is told
    /// once more: its "no" is no refusal of the lock ([`GrantAck::Assumed`](crate::GrantAck)).
    pub told: bool,
}

/// Why a wait ended without the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// Its time was over: [`Wait::timeout_ms`](crate::Wait).
    TimedOut,
    /// When its turn came, a limit stood against it.
    Limit,
    /// It has come into a cycle by what its owner, without waiting for that, got since.
    Deadlock {
        /// The owners, each waiting for the next and the last for the first; its own first.
        cycle: Vec<Owner>,
    },
    /// Its owner unlocked some of the range.
    Unlocked,
    /// It was to upgrade what its owner holds no more.
    NothingToUpgrade,
    /// What its client had was released ([`Input::FreeAll`](crate::Input::FreeAll)) or this by order
    /// ([`Input::Clear`](crate::Input::Clear)), or the client stayed away or was silent for too long.
    Released,
}

/// The answer to a request. Refusals carry their facts; [`Outcome::error`] gives them as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The owner holds the lock.
    Granted,
    /// The request waits; a grant follows when its turn comes.
    Blocked,
    /// An unlock, cancel, release or order was carried out.
    Done,
    /// A test found nothing in the way.
    Free,
    /// Somebody is in the way.
    Conflict(Conflict),
    /// A share reservation of another owner is in the way.
    ShareConflict(ShareConflict),
    /// Only reclaims are admitted now.
    Grace {
        /// Milliseconds until the window closes at the latest.
        left_ms: u64,
    },
    /// Waiting would close a cycle.
    Deadlock {
        /// The owners, each waiting for the next and the last for the first; the refused one first.
        cycle: Vec<Owner>,
    },
    /// A limit is reached and nothing was changed.
    Limit {
        /// Which limit.
        which: Limit,
        /// The count before the request.
        current: u64,
        /// The limit.
        maximum: u64,
    },
    /// An administrator's clear released this.
    Cleared(Cleared),
    /// What the request named is not there.
    NotFound,
    /// A cancel came too late: the owner holds the lock, and keeps it.
    AlreadyHeld,
    /// A reclaim of something not on record, with no grace window open to admit it.
    ReclaimRefused,
    /// The client cannot be forgotten: it holds or awaits something.
    StillHolds {
        /// The locks it holds.
        locks: u64,
        /// The requests of its that wait.
        waiters: u64,
        /// Its share reservations.
        shares: u64,
    },
}

impl Outcome {
    /// The refusal as an error with its facts; `None` where the outcome is no refusal.
    #[must_use]
    pub fn error(&self) -> Option<LockError> {
        match self {
            Outcome::Conflict(conflict) => Some(LockError::Conflict {
                owner_id: Arc::clone(&conflict.owner.owner_id),
                offset: conflict.range.offset(),
                length: conflict.range.length(),
                exclusive: conflict.mode == Mode::Exclusive,
            }),
            Outcome::ShareConflict(conflict) => Some(LockError::ShareConflict {
                owner_id: Arc::clone(&conflict.owner.owner_id),
                reads: conflict.access.reads(),
                writes: conflict.access.writes(),
                denies_reading: conflict.deny.reads(),
                denies_writing: conflict.deny.writes(),
            }),
            Outcome::Grace { left_ms } => Some(LockError::GracePeriod { left_ms: *left_ms }),
            Outcome::Deadlock { cycle } => Some(LockError::Deadlock {
                cycle: cycle.iter().map(|owner| Arc::clone(&owner.owner_id)).collect(),
            }),
            &Outcome::Limit {
                which: which @ (Limit::Clients | Limit::ClientsPerSource),
                current,
                maximum,
            } => Some(LockError::ConnectionLimit { which, current, maximum }),
            &Outcome::Limit { which, current, maximum } => {
                Some(LockError::LimitExceeded { which, current, maximum })
            }
            Outcome::NotFound => Some(LockError::NotFound),
            Outcome::ReclaimRefused => Some(LockError::ReclaimRefused),
            &Outcome::StillHolds { locks, waiters, shares } => {
                Some(LockError::StillHolds { locks, waiters, shares })
            }
            Outcome::Granted
            | Outcome::Blocked
            | Outcome::Done
            | Outcome::Free
            | Outcome::AlreadyHeld
            | Outcome::Cleared(_) => None,
        }
    }
}

/// Who is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other owner.
    pub owner: Owner,
    /// Its whole range, which may be wider than the one asked for.
    pub range: Range,
    /// Its mode.
    pub mode: Mode,
}

/// The share reservation that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareConflict {
    /// The other owner.
    pub owner: Owner,
    /// What it may do.
    pub access: Access,
    /// What it lets nobody else do.
    pub deny: Access,
}

/// News of the grace window. Numbers of locks count recorded locks, by piece, and recorded shares;
/// numbers of reclaims count requests, each of which may be for several pieces or for a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraceEvent {
    /// The table was restored with locks on record and the window is open.
    Opened {
        /// Locks that wait to be reclaimed.
        locks: u64,
        /// Clients that hold them.
        clients: u64,
        /// When it closes at the latest, on the core's clock.
        until_ms: u64,
        /// Whether the table is exact, so that the window may close early.
        exact: bool,
    },
    /// The table was restored with locks on record and no window opens: they stand, and what does
    /// not conflict with them is granted.
    Instant {
        /// Locks that wait to be reclaimed.
        locks: u64,
        /// Clients that hold them.
        clients: u64,
    },
    /// Something on record was reclaimed or released.
    Progress {
        /// Reclaims granted so far of what was on record and not reclaimed before.
        reclaimed: u64,
        /// Locks still waited for.
        left: u64,
    },
    /// The window is closed.
    Closed {
        /// Why.
        why: GraceEnd,
        /// Reclaims granted of what was on record and not reclaimed before.
        reclaimed: u64,
        /// Locks nobody reclaimed: dropped now.
        dropped: u64,
        /// Locks nobody reclaimed that stand until their clients have heard of the restart.
        kept: u64,
    },
}

/// Why a grace window closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraceEnd {
    /// Every recorded lock was reclaimed or released.
    AllSettled,
    /// Its time was over.
    Deadline,
    /// Somebody ordered it.
    Ordered,
}
