//! What the core decided, as the results of NLM version 4.
//!
//! [`stat`] and [`refusal_stat`] are the one place where version 4's statuses are chosen. The
//! other functions list, per procedure, the statuses that the specification permits and those
//! that this server answers besides, and why.

use cleat_lock::{Conflict, Mode, Outcome};

use crate::owner::Note;
use crate::procedures::{LAST_BYTE, Refusal};
use crate::wire::{Holder, Res, Stat, TestArgs, TestReply, TestRes};

/// The status that tells a client how its request ended.
#[must_use]
pub const fn stat(outcome: &Outcome) -> Stat {
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
        Outcome::NotFound | Outcome::StillHolds | Outcome::Cleared(_) => Stat::Failed,
    }
}

/// The status for a call that did not reach the core.
#[must_use]
pub const fn refusal_stat(refusal: Refusal) -> Stat {
    match refusal {
        Refusal::StaleHandle => Stat::StaleHandle,
        Refusal::ReadOnly => Stat::ReadOnly,
        Refusal::TooBig => Stat::TooBig,
        Refusal::NotRecorded | Refusal::TooManyClients => Stat::DeniedNolocks,
        // Linux and FreeBSD take any other refusal of an UNLOCK for its end, and the lock would
        // stay; after this one they ask again in 5 s, and then another instance of us.
        Refusal::UnlockNotRecorded => Stat::DeniedGracePeriod,
        // Not NLM4_DENIED: a caller of fcntl(2) would see EAGAIN and try for ever. NLM4_FAILED
        // becomes ENOLCK.
        Refusal::Access | Refusal::NotLockable | Refusal::Failed => Stat::Failed,
    }
}

/// The result of any procedure but TEST for a call that did not reach the core.
#[must_use]
pub const fn refused(cookie: &[u8], refusal: Refusal) -> Res<'_> {
    Res { cookie, stat: refusal_stat(refusal) }
}

/// The result of TEST for a call that did not reach the core.
#[must_use]
pub const fn test_refused(cookie: &[u8], refusal: Refusal) -> TestRes<'_> {
    TestRes { cookie, reply: TestReply::Stat(refusal_stat(refusal)) }
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
pub fn test_res<'a>(cookie: &'a [u8], outcome: &'a Outcome) -> TestRes<'a> {
    let reply = match outcome {
        Outcome::Conflict(conflict) => TestReply::Denied(holder(conflict)),
        other => TestReply::Stat(stat(other)),
    };
    TestRes { cookie, reply }
}

/// The holder of a conflicting lock. Other protocols lock bytes past [`LAST_BYTE`], which
/// clients of this one cannot read back: such a range ends with the file.
fn holder(conflict: &Conflict) -> Holder<'_> {
    let note = Note::of(&conflict.owner.owner_id, &conflict.owner.note);
    let range = conflict.range;
    Holder {
        exclusive: conflict.mode == Mode::Exclusive,
        svid: note.svid,
        oh: note.oh,
        offset: range.offset().min(LAST_BYTE),
        length: if range.last() > LAST_BYTE { 0 } else { range.length() },
    }
}

/// NLM4_LOCK: asks for a lock, and waits for it where `block` is set. (XNFS ch. 10, NLM_LOCK)
///
/// `nlm4_res NLM4_LOCK(nlm4_lockargs) = 2`
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
pub const fn lock_res<'a>(cookie: &'a [u8], outcome: &Outcome) -> Res<'a> {
    Res { cookie, stat: stat(outcome) }
}

/// NLM4_CANCEL: a blocked request is no longer wanted. (XNFS ch. 10, NLM_CANCEL)
///
/// `nlm4_res NLM4_CANCEL(nlm4_cancargs) = 3`
///
/// Permitted status codes:
/// - NLM4_GRANTED: the request is cancelled.
/// - NLM4_DENIED: there was nothing to cancel.
/// - NLM4_DENIED_GRACE_PERIOD, NLM4_STALE_FH, NLM4_FBIG, NLM4_FAILED: as for LOCK.
///
/// Here NLM4_DENIED means that the owner has the lock already, and keeps it: it must UNLOCK.
/// Where nobody waits and nothing is held, the answer is NLM4_GRANTED, so that a repeated CANCEL
/// is answered as the first one was. Served in the grace period too: it takes nothing from
/// anybody.
#[must_use]
pub const fn cancel_res<'a>(cookie: &'a [u8], outcome: &Outcome) -> Res<'a> {
    Res { cookie, stat: stat(outcome) }
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
/// - NLM4_STALE_FH, NLM4_FBIG, NLM4_FAILED: as for LOCK.
#[must_use]
pub const fn unlock_res<'a>(cookie: &'a [u8], outcome: &Outcome) -> Res<'a> {
    Res { cookie, stat: stat(outcome) }
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
