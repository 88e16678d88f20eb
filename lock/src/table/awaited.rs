//! Which locks keep whom waiting.

use super::Table;
use super::locks::{Held, opposing};
use super::tree::{NOBODY, Placed, Query, WaiterEntry};

impl Table {
    /// Whether a request of another client waits that this lock is in the way of.
    pub(crate) fn is_awaited(&self, lock: u32) -> bool {
        let &Held { owner, file, attrs, .. } = self.locks.get(lock);
        let file = &self.names.files[file];
        if file.waiting() == 0 {
            return false;
        }
        let client_of = |owner: u32| self.names.owners[owner].client;
        let query = Query { range: self.locks.range(lock), except: NOBODY, before: u64::MAX };
        let of_others = &mut |waiter: &WaiterEntry| {
            client_of(self.queue.get(waiter.ix()).owner) != client_of(owner)
        };
        let mut modes = opposing(attrs.mode).iter();
        modes.any(|&mode| file.queue(mode).find(&query, of_others).is_some())
    }
}
