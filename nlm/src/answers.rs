//! What the core decided, as the results of NLM.
//!
//! `stat` and `refusal_stat` are the one place where statuses are chosen, in the words of
//! version 4; what becomes of them in versions 1 and 3 says [`Version::stat`]. The other functions
//! list, per procedure, the statuses that the specification permits and those that this server
//! answers besides, and why. NLM_*_RES carries the same as the answer to the called procedure.

use cleat_lock::{Conflict, Mode, Outcome};

use crate::owner::Note;
use crate::procedures::Refusal;
use crate::version::Version;
use crate::wire::{Holder, Res, ShareRes, Stat, TestArgs, TestReply, TestRes};

/// How a call ended: as the core decided, or before it was asked.
pub type Ended = Result<Outcome, Refusal>;

/// The status that tells a client how its request ended.
const fn stat(outcome: &Outcome) -> Stat {
    match outcome {
        Outcome::Granted | Outcome::Done | Outcome::Free => Stat::Granted,
        Outcome::Blocked => Stat::Blocked,
        Outcome::Conflict(_) | Outcome::ShareConflict(_) => Stat::Denied,
        Outcome::Grace { .. } => Stat::DeniedGracePeriod,
        Outcome::Deadlock { .. } => Stat::Deadlock,
        Outcome::Limit { .. } => Stat::DeniedNolocks,
        // A CANCEL that came too late: the lock stands (interop: "answer DENIED, do not unlock").
        Outcome::AlreadyHeld => Stat::Denied,
        // Not NLM4_DENIED_GRACE_PERIOD, as Linux answers: FreeBSD takes that for "ask again" and
        // would ask for ever.
        Outcome::ReclaimRefused => Stat::Denied,
        // Answers to the administrator's orders: no procedure leads to them.
        Outcome::NotFound | Outcome::StillHolds { .. } | Outcome::Cleared(_) => Stat::Failed,
    }
}

/// The status for a call that did not reach the core.
const fn refusal_stat(refusal: Refusal) -> Stat {
    match refusal {
        Refusal::StaleHandle => Stat::StaleHandle,
        Refusal::ReadOnly => Stat::ReadOnly,
        Refusal::TooBig => Stat::TooBig,
        Refusal::NotRecorded => Stat::DeniedNolocks,
        // Not NLM4_DENIED: a caller of fcntl(2) would see EAGAIN and try for ever. NLM4_FAILED
        // becomes ENOLCK.
        Refusal::Access | Refusal::NotLockable | Refusal::Failed => Stat::Failed,
    }
}

fn status(version: Version, ended: &Ended) -> Stat {
    version.stat(match ended {
        Ok(outcome) => stat(outcome),
        Err(refusal) => refusal_stat(*refusal),
    })
}

/// NLM4_TEST: would this lock be granted? (XNFS ch. 10, NLM_TEST)
///
/// `nlm4_testres NLM4_TEST(nlm4_testargs) = 1`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the server would be able to grant the lock.
/// - NLM4_DENIED: another owner holds a lock that conflicts; the result says whose.
/// - NLM4_DENIED_NOLOCKS: the server's resources are exhausted.
/// - NLM4_DENIED_GRACE_PERIOD: the server restarted a short time ago.
/// - NLM4_STALE_FH, NLM4_FBIG, NLM4_FAILED: as the LOCK would be answered.
///
/// Besides: NLM4_ROFS where the LOCK would be answered so.
///
/// The holder is told by its own client's svid and `oh`, which FreeBSD and macOS show as l_pid;
/// an owner of another protocol has none: 0 and empty.
#[must_use]
pub fn test_res<'a>(version: Version, cookie: &'a [u8], ended: &'a Ended) -> TestRes<'a> {
    let reply = match ended {
        Ok(Outcome::Conflict(conflict)) => TestReply::Denied(holder(version, conflict)),
        _ => TestReply::Stat(status(version, ended)),
    };
    TestRes { cookie, reply }
}

/// The holder of a conflicting lock. Other protocols and other versions lock bytes past
/// [`Version::last_byte`], which clients of this one cannot read back: such a range ends with the
/// file.
fn holder(version: Version, conflict: &Conflict) -> Holder<'_> {
    let note = Note::of(&conflict.owner.owner_id, &conflict.owner.note);
    let (range, last) = (conflict.range, version.last_byte());
    Holder {
        exclusive: conflict.mode == Mode::Exclusive,
        svid: note.svid,
        oh: note.oh,
        offset: range.offset().min(last),
        length: if range.last() > last { 0 } else { range.length() },
    }
}

/// NLM4_LOCK: asks for a lock, and waits for it where `block` is set. (XNFS ch. 10, NLM_LOCK)
/// NLM4_NM_LOCK: the same for a client that nobody monitors: it is not told of our restarts.
///
/// `nlm4_res NLM4_LOCK(nlm4_lockargs) = 2`, `nlm4_res NLM4_NM_LOCK(nlm4_lockargs) = 22`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the owner has the lock.
/// - NLM4_DENIED: another owner holds a lock that conflicts, and `block` is not set.
/// - NLM4_DENIED_NOLOCKS: the server's resources are exhausted.
/// - NLM4_BLOCKED: another owner is in the way; a GRANTED call follows when the turn comes.
/// - NLM4_DENIED_GRACE_PERIOD: the server restarted a short time ago and admits reclaims only.
/// - NLM4_DEADLCK: waiting would close a cycle of owners that wait for each other.
/// - NLM4_ROFS: an exclusive lock on a read-only export.
/// - NLM4_STALE_FH: the handle names no file here.
/// - NLM4_FBIG: the range reaches past byte 2^63 - 1.
/// - NLM4_FAILED: the file cannot be locked, or not by this caller.
///
/// Besides: NLM4_DENIED for a reclaim of what is not on record, once no window admits it;
/// NLM4_DENIED_NOLOCKS where a limit is reached or the lock cannot be made durable.
#[must_use]
pub fn lock_res<'a>(version: Version, cookie: &'a [u8], ended: &Ended) -> Res<'a> {
    Res { cookie, stat: status(version, ended) }
}

/// NLM4_CANCEL: a blocked request is no longer wanted. (XNFS ch. 10, NLM_CANCEL)
///
/// `nlm4_res NLM4_CANCEL(nlm4_cancargs) = 3`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the request is cancelled.
/// - NLM4_DENIED: there was nothing to cancel.
/// - NLM4_DENIED_GRACE_PERIOD, NLM4_STALE_FH, NLM4_FAILED: as for LOCK.
///
/// Here NLM4_DENIED means that the owner has the lock already, and keeps it: it must UNLOCK.
/// Where nobody waits and nothing is held, the answer is NLM4_GRANTED, so that a repeated CANCEL
/// is answered as the first one was. Served in the grace period too: it takes nothing from
/// anybody.
#[must_use]
pub fn cancel_res<'a>(version: Version, cookie: &'a [u8], ended: &Ended) -> Res<'a> {
    Res { cookie, stat: status(version, ended) }
}

/// NLM4_UNLOCK: releases a range. (XNFS ch. 10, NLM_UNLOCK)
///
/// `nlm4_res NLM4_UNLOCK(nlm4_unlockargs) = 4`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the owner holds nothing in the range, whether it did before or not.
/// - NLM4_DENIED_NOLOCKS: one lock would become two, and there is no room for the second.
/// - NLM4_DENIED_GRACE_PERIOD: the server is about to stop and could not record it: ask again.
///   Never because of a grace period: unlocking is served in it.
/// - NLM4_STALE_FH, NLM4_FAILED: as for LOCK.
#[must_use]
pub fn unlock_res<'a>(version: Version, cookie: &'a [u8], ended: &Ended) -> Res<'a> {
    Res { cookie, stat: release_status(version, ended) }
}

/// The status of what must not be lost. Linux and FreeBSD take any other refusal of an UNLOCK for
/// its end, and the lock would stay; after this one they ask again in 5 s, and then another
/// instance of us.
fn release_status(version: Version, ended: &Ended) -> Stat {
    match ended {
        Err(Refusal::NotRecorded) => Stat::DeniedGracePeriod,
        _ => status(version, ended),
    }
}

/// NLM4_SHARE: reserves a file against others. (XNFS ch. 10, NLM_SHARE)
///
/// `nlm4_shareres NLM4_SHARE(nlm4_shareargs) = 20`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the owner has the reservation.
/// - NLM4_DENIED: another owner's reservation denies what this one wants, or does what this one
///   denies.
/// - NLM4_DENIED_NOLOCKS: the server's resources are exhausted.
/// - NLM4_DENIED_GRACE_PERIOD: the server restarted a short time ago and admits reclaims only.
/// - NLM4_ROFS: access for writing on a read-only export.
/// - NLM4_STALE_FH, NLM4_FAILED: as for LOCK.
///
/// Besides: NLM4_DENIED for a reclaim of what is not on record, once no window admits it. The
/// sequence number, of which no specification says what it counts, is 0.
#[must_use]
pub fn share_res<'a>(version: Version, cookie: &'a [u8], ended: &Ended) -> ShareRes<'a> {
    ShareRes { cookie, stat: status(version, ended), sequence: 0 }
}

/// NLM4_UNSHARE: ends a reservation. (XNFS ch. 10, NLM_UNSHARE)
///
/// `nlm4_shareres NLM4_UNSHARE(nlm4_shareargs) = 21`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the owner has no reservation of the file, whether it had one before or not.
/// - NLM4_DENIED_GRACE_PERIOD, NLM4_STALE_FH, NLM4_FAILED: as for UNLOCK.
#[must_use]
pub fn unshare_res<'a>(version: Version, cookie: &'a [u8], ended: &Ended) -> ShareRes<'a> {
    ShareRes { cookie, stat: release_status(version, ended), sequence: 0 }
}

/// NLM4_GRANTED, called on us: a server tells its client that a wait is over. (XNFS ch. 10)
///
/// `nlm4_res NLM4_GRANTED(nlm4_testargs) = 5`
///
/// Permitted status codes: NLM4_GRANTED, NLM4_DENIED, NLM4_DENIED_GRACE_PERIOD. We ask nobody for
/// locks, so it is always NLM4_DENIED: "not wanted", and the server that asks takes it back.
#[must_use]
pub const fn granted_res<'a>(args: &TestArgs<'a>) -> Res<'a> {
    Res { cookie: args.cookie, stat: Stat::Denied }
}
