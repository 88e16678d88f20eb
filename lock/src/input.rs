//! What a driver tells the core: requests, answers to callbacks, and the passing of time.

use std::sync::Arc;

use crate::core::Clear;
use crate::types::{Access, FileId, LockId, Mode, Owner, Range, Token, WaiterId};

/// One step's input. Every variant with a `token` is answered by exactly one
/// [`Effect::Reply`](crate::Effect::Reply): in the same step, but for a release of very much
/// ([`Input::FreeAll`], [`Input::ClientRestarted`]), which takes several and is answered in the last.
#[derive(Clone, Debug)]
pub enum Input {
    /// Would this lock be granted? Looks at held locks only, not at who waits.
    ///
    /// Outcomes: `Free`, `Conflict`, `Grace`.
    Test {
        /// Names the reply.
        token: Token,
        /// Who asks; its own locks do not count.
        owner: Owner,
        /// Which file.
        file: FileId,
        /// Which bytes.
        range: Range,
        /// In which mode.
        mode: Mode,
    },
    /// Take, extend, upgrade, downgrade or reclaim a lock.
    ///
    /// Nothing but a lock that another owner holds is in its way. Where it may wait and its owner
    /// and client are new it may yield to a request that came before it:
    /// [`Config::fair_wait_ms`](crate::Config::fair_wait_ms).
    ///
    /// Outcomes: `Granted`, `Blocked`, `Conflict`, `Grace`, `Deadlock`, `Limit`, `ReclaimRefused`.
    Lock(LockRequest),
    /// The same, a reclaim, for a caller that may not use the file by now: what is on record of its
    /// owner is its own all the same.
    ///
    /// Outcomes: as those of a lock, and `ReclaimRefused` where not all of the range is on record.
    ReclaimRecorded(LockRequest),
    /// The same for a share reservation.
    ///
    /// Outcomes: as those of a share, and `ReclaimRefused` where the owner has none on record.
    ReclaimRecordedShare(ShareRequest),
    /// Turn what the owner holds in a range, shared, into exclusive.
    ///
    /// Outcomes: `Granted` (also where it is exclusive already: nothing changes then), `NotFound`
    /// where the owner does not hold every byte of the range (nothing changes, but that an upgrade
    /// of it that waited does so no longer), and else those of an exclusive lock on the range. An
    /// upgrade that waits keeps its shared lock; two upgraders of one byte are a deadlock. Where the shared lock is taken from its
    /// owner meanwhile the wait is over when its turn comes
    /// ([`WaitEnd::NothingToUpgrade`](crate::WaitEnd)).
    Upgrade(UpgradeRequest),
    /// Give up whatever the owner holds in the range, and whatever it waits for there: that a wait
    /// is over by this is told ([`Effect::WaitOver`](crate::Effect::WaitOver)).
    ///
    /// Outcomes: `Done` (also where nothing was held), `Limit` where cutting a lock in two would
    /// pass a limit. Served in grace.
    Unlock {
        /// Names the reply.
        token: Token,
        /// A fresh id, for the pieces a lock may be cut into.
        id: LockId,
        /// Whose locks.
        owner: Owner,
        /// Which file.
        file: FileId,
        /// Which bytes.
        range: Range,
    },
    /// Stop waiting. Matches owner, range and mode.
    ///
    /// Outcomes: `Done` (also where nobody waits), `AlreadyHeld` where the owner holds the lock
    /// already: nothing is unlocked then. Served in grace.
    Cancel {
        /// Names the reply.
        token: Token,
        /// Whose request.
        owner: Owner,
        /// Which file.
        file: FileId,
        /// Exactly the range of the request.
        range: Range,
        /// Exactly the mode of the request.
        mode: Mode,
    },
    /// Reserve a file against others (NLM_SHARE, XNFS ch. 10). An owner has one reservation on a
    /// file: a new one replaces it where it may, else the old one stays. Never waits.
    ///
    /// Outcomes: `Granted`, `ShareConflict`, `Grace`, `Limit`, `ReclaimRefused`.
    Share(ShareRequest),
    /// Give up the owner's reservation of the file (NLM_UNSHARE).
    ///
    /// Outcome: `Done` (also where there is none). Served in grace.
    Unshare {
        /// Names the reply.
        token: Token,
        /// Whose.
        owner: Owner,
        /// Of which file.
        file: FileId,
    },
    /// A client connects, or says that it is there: it is known from now on, though it holds
    /// nothing, until [`Input::ForgetClient`] or until it is disconnected and its time is over.
    /// Put on record where it says how to reach it.
    ///
    /// Outcomes: `Done`, `Limit`.
    Register {
        /// Names the reply.
        token: Token,
        /// Which client.
        client_id: Arc<str>,
        /// Its state number, for the record.
        incarnation: u32,
        /// As in [`LockRequest::contact`]; empty = nothing goes on record.
        contact: Arc<[u8]>,
    },
    /// The connection of a client is gone. Unless the client comes back (by [`Input::Register`],
    /// [`Input::ClientRestarted`] or any request of an owner of its), all it has is released
    /// [`Config::disconnect_ttl_ms`](crate::Config::disconnect_ttl_ms) later. Changes nothing
    /// where that time runs already, or where the client is not known.
    ///
    /// A restart of the server forgets these times. Locks and shares are then subject to the grace
    /// window; for what waits, a driver says this again for those of
    /// [`Core::clients`](crate::Core::clients) that its protocol has no connection of.
    Disconnected {
        /// Which client.
        client_id: Arc<str>,
    },
    /// Release everything of a client, locks, shares and waiters (NLM_FREE_ALL).
    ///
    /// Outcome: `Done`.
    FreeAll {
        /// Names the reply.
        token: Token,
        /// Whose.
        client_id: Arc<str>,
    },
    /// A client says it restarted (SM_NOTIFY): release what it took under any other incarnation,
    /// forget its waiters likewise.
    ///
    /// Outcome: `Done`.
    ClientRestarted {
        /// Names the reply.
        token: Token,
        /// Which client.
        client_id: Arc<str>,
        /// Its state number from now on.
        incarnation: u32,
    },
    /// The client need not be known any more: drop its record and its registration, if it holds
    /// and awaits nothing.
    ///
    /// Outcomes: `Done`, `StillHolds`, `NotFound`.
    ForgetClient {
        /// Names the reply.
        token: Token,
        /// Which client.
        client_id: Arc<str>,
    },
    /// What became of an [`Effect::Grant`](crate::Effect::Grant). Ignored where that grant is over.
    GrantOutcome {
        /// Which grant.
        waiter: WaiterId,
        /// The client's answer.
        outcome: GrantAck,
    },
    /// The client has heard that this server restarted (its status monitor acknowledged
    /// SM_NOTIFY): what it does not reclaim within the time that a grace window lasts is dropped.
    /// Changes nothing where nothing of its waits to be reclaimed, or where
    /// [`Config::unreachable_hold_ms`](crate::Config::unreachable_hold_ms) is 0.
    ClientReached {
        /// Which client.
        client_id: Arc<str>,
    },
    /// The client's lock manager answers nothing: of its locks those that keep waiters of other
    /// clients waiting are released, each whole; what is in nobody's way stays. Ignored while a
    /// grace window is open, and where the client asked for anything since: see
    /// [`Core::blocking_clients`](crate::Core::blocking_clients).
    ClientSilent {
        /// Which client.
        client_id: Arc<str>,
        /// Since when, on the core's clock.
        since_ms: u64,
    },
    /// Close the grace window now (an administrator's order).
    ///
    /// Outcomes: `Done`, `NotFound` where no window is open.
    EndGrace {
        /// Names the reply.
        token: Token,
    },
    /// Release by an administrator's order, in grace and out of it: [`Clear::STEP_MAX`] claims at
    /// the most, and the outcome says whether to give this again. What is cleared in a grace window
    /// may be reclaimed by its client, where nothing is in the way by then.
    ///
    /// Outcomes: `Cleared`, `NotFound` where there is nothing of it.
    Clear {
        /// Names the reply.
        token: Token,
        /// A fresh id, for the pieces a lock may be cut into.
        id: LockId,
        /// What to release.
        what: Clear,
    },
    /// Time passed and nothing else: see [`Core::next_deadline`](crate::Core::next_deadline).
    Tick,
}

impl Input {
    /// The token of the reply that this input gets; `None` where it gets none.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        match self {
            Input::Lock(request) | Input::ReclaimRecorded(request) => Some(request.token),
            Input::Upgrade(request) => Some(request.token),
            Input::Share(request) | Input::ReclaimRecordedShare(request) => Some(request.token),
            Input::Test { token, .. }
            | Input::Unlock { token, .. }
            | Input::Cancel { token, .. }
            | Input::Unshare { token, .. }
            | Input::Register { token, .. }
            | Input::FreeAll { token, .. }
            | Input::ClientRestarted { token, .. }
            | Input::ForgetClient { token, .. }
            | Input::EndGrace { token }
            | Input::Clear { token, .. } => Some(*token),
            Input::Disconnected { .. }
            | Input::ClientReached { .. }
            | Input::ClientSilent { .. }
            | Input::GrantOutcome { .. }
            | Input::Tick => None,
        }
    }

    /// The client that shows itself by this; `None` where it is no sign of life of any.
    pub(crate) fn sign_of_life(&self) -> Option<&str> {
        match self {
            Input::Lock(LockRequest { owner, .. })
            | Input::ReclaimRecorded(LockRequest { owner, .. })
            | Input::ReclaimRecordedShare(ShareRequest { owner, .. })
            | Input::Upgrade(UpgradeRequest { owner, .. })
            | Input::Share(ShareRequest { owner, .. })
            | Input::Test { owner, .. }
            | Input::Unlock { owner, .. }
            | Input::Cancel { owner, .. }
            | Input::Unshare { owner, .. } => Some(&owner.client_id),
            Input::Register { client_id, .. } | Input::ClientRestarted { client_id, .. } => {
                Some(client_id)
            }
            Input::Disconnected { .. }
            | Input::ClientReached { .. }
            | Input::ClientSilent { .. }
            | Input::FreeAll { .. }
            | Input::ForgetClient { .. }
            | Input::GrantOutcome { .. }
            | Input::EndGrace { .. }
            | Input::Clear { .. }
            | Input::Tick => None,
        }
    }
}

/// A request for a lock.
#[derive(Clone, Debug)]
pub struct LockRequest {
    /// Names the reply.
    pub token: Token,
    /// A fresh id for the lock and for the pieces it may cut others into. Unused where the request
    /// turns out to be a repetition.
    pub id: LockId,
    /// Who asks.
    pub owner: Owner,
    /// Which file.
    pub file: FileId,
    /// Which bytes.
    pub range: Range,
    /// In which mode.
    pub mode: Mode,
    /// Wait where it cannot be had at once; `None` = answer `Conflict`. A reclaim never waits.
    pub wait: Option<Wait>,
    /// The client held this lock before this server restarted.
    pub reclaim: bool,
    /// The client's own state number (NSM state): locks taken under another one die with
    /// [`Input::ClientRestarted`].
    pub incarnation: u32,
    /// How to reach the client after a restart, opaque: kept in the client's record, which is
    /// persisted when new or changed. Empty = register nothing (an unmonitored lock).
    pub contact: Arc<[u8]>,
}

/// A request to turn a shared lock into an exclusive one.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    /// Names the reply.
    pub token: Token,
    /// As in [`LockRequest::id`].
    pub id: LockId,
    /// Who asks.
    pub owner: Owner,
    /// Which file.
    pub file: FileId,
    /// Which bytes; the owner holds all of them.
    pub range: Range,
    /// Wait where it cannot be had at once; `None` = answer `Conflict`.
    pub wait: Option<Wait>,
    /// As in [`LockRequest::incarnation`].
    pub incarnation: u32,
    /// As in [`LockRequest::contact`].
    pub contact: Arc<[u8]>,
}

/// A request for a share reservation.
#[derive(Clone, Debug)]
pub struct ShareRequest {
    /// Names the reply.
    pub token: Token,
    /// Who asks.
    pub owner: Owner,
    /// Which file.
    pub file: FileId,
    /// What the owner wants to do.
    pub access: Access,
    /// What nobody else may do.
    pub deny: Access,
    /// The client had this before this server restarted.
    pub reclaim: bool,
    /// As in [`LockRequest::incarnation`].
    pub incarnation: u32,
    /// As in [`LockRequest::contact`].
    pub contact: Arc<[u8]>,
}

/// How a request waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How to call back, opaque; comes with the grant. A re-sent request replaces it.
    pub context: Arc<[u8]>,
    /// How long the waiter is kept after its request was last sent, in milliseconds; 0 = for ever.
    /// For protocols whose clients send a blocked request again and again. Begins anew with a restart
    /// of the server, and where that opens a grace window with the end of it: nobody is silent whom
    /// nobody could hear.
    pub silence_ms: u64,
    /// How long the request waits at most, in milliseconds from its first arrival; 0 = for ever,
    /// `None` = for [`Config::blocking_timeout_ms`](crate::Config::blocking_timeout_ms). When it is
    /// over the waiter is forgotten and [`Effect::WaitOver`](crate::Effect::WaitOver) says so. Begins
    /// anew with a restart, as does the silence: the time in which nobody could be served does
    /// not count.
    pub timeout_ms: Option<u64>,
    /// Refuse with `Deadlock` rather than wait in a cycle. flock(2) callers do not expect that.
    pub find_deadlock: bool,
}

/// The client's answer to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantAck {
    /// It has the lock.
    Accepted,
    /// It must be taken to have the lock, but did not say so: what it held in a stronger mode is
    /// left as it is.
    Assumed,
    /// It does not want it any more: the grant is rolled back and the next waiter served.
    Refused,
}
