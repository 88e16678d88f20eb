//! The grace window after a restart: how far it is, and its end.

use std::collections::BTreeMap;

use super::Core;
use crate::effect::{Effect, GraceEnd, GraceEvent, Outcome};
use crate::types::{Mode, Range};

/// An open window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) until_ms: u64,
    /// Whether the records are all there is to reclaim.
    pub(super) exact: bool,
    /// Reclaims granted of what was on record and not reclaimed before.
    pub(super) reclaimed: u64,
    /// Unreclaimed pieces and shares, as last told.
    pub(super) told_left: u64,
    /// Reclaims, as last told.
    pub(super) told_reclaimed: u64,
    /// What was reclaimed of the pieces of unacknowledged grants, by their waiters' numbers.
    pub(super) under_grants: BTreeMap<u64, Vec<(Range, Mode, u32)>>,
}

impl Core {
    pub(super) fn grace_left_ms(&self) -> Option<u64> {
        self.grace.as_ref().map(|window| window.until_ms.saturating_sub(self.now_ms))
    }

    /// Whether the records may lack what came last, and nobody has had the time to say so.
    pub(super) fn records_are_advice(&self) -> bool {
        self.grace.as_ref().is_some_and(|window| !window.exact)
    }

    /// Locks and shares on record that nobody reclaimed yet.
    pub(super) fn unreclaimed(&self) -> u64 {
        self.table.locks.unreclaimed + self.table.shares.unreclaimed
    }

    /// Reports progress, and closes the window where nothing is left to wait for.
    pub(super) fn follow_grace(&mut self, fx: &mut Vec<Effect>) {
        let left = self.unreclaimed();
        let Some(window) = &mut self.grace else {
            return;
        };
        let reclaimed = window.reclaimed;
        if (left, reclaimed) != (window.told_left, window.told_reclaimed) {
            window.told_left = left;
            window.told_reclaimed = reclaimed;
            fx.push(Effect::Grace(GraceEvent::Progress { reclaimed, left }));
        }
        if left == 0 && window.exact {
            self.close_grace(GraceEnd::AllSettled, fx);
        }
    }

    pub(super) fn end_grace_when_due(&mut self, fx: &mut Vec<Effect>) {
        if self.grace.as_ref().is_some_and(|window| window.until_ms <= self.now_ms) {
            self.close_grace(GraceEnd::Deadline, fx);
        }
    }

    pub(super) fn end_grace_by_order(&mut self, fx: &mut Vec<Effect>) -> Outcome {
        if self.grace.is_none() {
            return Outcome::NotFound;
        }
        self.close_grace(GraceEnd::Ordered, fx);
        Outcome::Done
    }

    /// Lets everybody in. What nobody reclaimed is dropped, unless it is held for those who could
    /// not know of the restart.
    fn close_grace(&mut self, why: GraceEnd, fx: &mut Vec<Effect>) {
        let Some(window) = self.grace.take() else {
            return;
        };
        let (dropped, kept) = if self.config.unreachable_hold_ms == 0 {
            (self.drop_unreclaimed(why, window.exact, fx), 0)
        } else {
            (0, self.unreclaimed())
        };
        let reclaimed = window.reclaimed;
        fx.push(Effect::Grace(GraceEvent::Closed { why, reclaimed, dropped, kept }));
        if !window.exact {
            // While the table was only advice these might have been promised to somebody else.
            fx.extend(self.tell_grants());
        }
        self.table.queue.count_all(self.now_ms);
        self.table.wake_all();
    }
}
