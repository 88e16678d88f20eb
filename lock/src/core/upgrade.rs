//! The explicit upgrade: from shared to exclusive, and nothing where there is nothing to upgrade.

use super::Core;
use crate::effect::{Effect, Outcome};
use crate::input::{LockRequest, UpgradeRequest};
use crate::table::{Attrs, Standing};
use crate::types::Mode;

impl Core {
    /// Checks that the owner holds all it wants to upgrade; what then follows is an exclusive lock.
    /// Such a request is held up by other holders alone, so there is nothing an upgrade could get
    /// that a lock would not.
    pub(super) fn upgrade(&mut self, request: UpgradeRequest, fx: &mut Vec<Effect>) -> Outcome {
        if self.is_freed(&request.owner.client_id) {
            return Outcome::Grace { left_ms: 1 };
        }
        let range = request.range;
        let asker = self.asker(&request.owner);
        if let Some(owner) = asker {
            // What a grant gave to that goes with it, and is nothing to upgrade.
            self.end_former_life(owner, request.incarnation, fx);
        }
        let place = asker.zip(self.table.names.file(&request.file));
        if let Some((owner, file)) = place {
            let mut pieces = self.table.locks.own_in(owner, file, range);
            // What is left of its former life is about to go.
            let settled = |ix| {
                let Attrs { incarnation, standing, .. } = self.table.locks.get(ix).attrs;
                standing == Standing::Settled && incarnation == request.incarnation
            };
            // Under a grant of less it says that the owner wants to keep this, which a lock sees to.
            if pieces.all(settled)
                && self.table.holds(owner, file, range, Mode::Exclusive)
                && self.table.grants_in(owner, file, range).is_empty()
            {
                return Outcome::Granted;
            }
        }
        // One that is sent again is answered as a lock that is, in grace too.
        let again = place.and_then(|(owner, file)| {
            let ix = self.table.queue.exact(owner, file, range, Mode::Exclusive)?;
            self.table.queue.get(ix).upgrade.then_some(ix)
        });
        if let (None, Some(left_ms)) = (again, self.grace_left_ms()) {
            return Outcome::Grace { left_ms };
        }
        let held =
            place.is_some_and(|(owner, file)| self.table.holds(owner, file, range, Mode::Shared));
        // Where the records are advice it may be about to reclaim what it holds.
        if !held && !self.records_are_advice() {
            if let Some(ix) = again.filter(|&ix| self.table.queue.get(ix).granted.is_none()) {
                self.abandon(ix, fx);
            }
            return Outcome::NotFound;
        }
        let UpgradeRequest { token, id, owner, file, wait, incarnation, contact, .. } = request;
        let (mode, reclaim) = (Mode::Exclusive, false);
        let request = LockRequest {
            token,
            id,
            owner,
            file,
            range,
            mode,
            wait,
            reclaim,
            incarnation,
            contact,
        };
        self.lock_or_upgrade(asker, request, true, fx)
    }
}
