//! What the lock core tells people: of the grace window, of refusals, of records that it rejects.

use crate::seldom::limited;
use cleat_lock::{GraceEnd, GraceEvent, LockError, Outcome, Record, WaitEnd, WaiterId};
use tracing::{debug, info, warn};

pub(super) fn log_grace(event: GraceEvent, now_ms: u64) {
    match event {
        GraceEvent::Opened { locks, clients, until_ms, exact } => {
            let seconds = until_ms.saturating_sub(now_ms).div_ceil(1000);
            let early = if exact { "or as soon as all are back" } else { "in any case" };
            info!(
                locks,
                clients,
                "grace opened: waiting for the locks on record, {seconds} s at most, {early}"
            );
        }
        GraceEvent::Instant { locks, clients } => {
            info!(locks, clients, "no grace: the locks on record stand, all others are granted");
        }
        GraceEvent::Progress { reclaimed, left } => debug!(reclaimed, left, "grace goes on"),
        GraceEvent::Closed { why, reclaimed, dropped, kept } => {
            let why = match why {
                GraceEnd::AllSettled => "every lock on record was reclaimed or released",
                GraceEnd::Deadline => "its time is over",
                GraceEnd::Ordered => "an administrator ended it",
            };
            if dropped > 0 {
                warn!(
                    reclaimed,
                    dropped, "grace closed: {why}; locks nobody reclaimed are dropped"
                );
            } else if kept > 0 {
                warn!(
                    reclaimed,
                    kept,
                    "grace closed: {why}; locks nobody reclaimed stand while their clients are \
                     out of reach"
                );
            } else {
                info!(reclaimed, "grace closed: {why}");
            }
        }
    }
}

/// The most rejected records that are named one by one: a damaged store may hold millions.
const REJECTED_NAMED_MAX: usize = 16;

/// Tells of records that were kept out because they contradict others, and are deleted.
pub(super) fn log_rejected(rejected: &[Record]) {
    for record in rejected.iter().take(REJECTED_NAMED_MAX) {
        warn!(?record, "a record contradicts another one: it is deleted");
    }
    if let Some(more @ 1..) = rejected.len().checked_sub(REJECTED_NAMED_MAX) {
        warn!(more, "more records contradict others: they are deleted");
    }
}

/// Tells of a refusal: of a deadlock to everybody, since those who made it have to know of each
/// other, and of what happens every day to who asks for it.
pub(super) fn log_refusal(outcome: &Outcome) {
    match outcome.error() {
        Some(error @ LockError::Deadlock { .. }) => limited!(info, "refused: {error}"),
        Some(error) => debug!("refused: {error}"),
        None => {}
    }
}

pub(super) fn log_wait_over(waiter: WaiterId, why: &WaitEnd) {
    if let WaitEnd::Deadlock { cycle } = why {
        let cycle = Outcome::Deadlock { cycle: cycle.clone() };
        if let Some(error) = cycle.error() {
            limited!(info, ?waiter, "a wait is over: {error}");
        }
    } else {
        debug!(?waiter, ?why, "a wait is over");
    }
}
