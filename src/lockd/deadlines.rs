//! Which of many is due next: one time for each, found without a look at the others.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// A time for each of some names, in milliseconds on any one clock.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    of: HashMap<K, u64>,
    order: BTreeSet<(u64, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { of: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Copy + Ord + Hash> Deadlines<K> {
    /// Sets or removes the time of one.
    pub(super) fn set(&mut self, name: K, due_ms: Option<u64>) {
        let before_ms = match due_ms {
            Some(due_ms) => self.of.insert(name, due_ms),
            None => self.of.remove(&name),
        };
        if before_ms == due_ms {
            return;
        }
        if let Some(before_ms) = before_ms {
            self.order.remove(&(before_ms, name));
        }
        self.order.extend(due_ms.map(|due_ms| (due_ms, name)));
    }

    /// The earliest time.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.order.first().map(|&(due_ms, _)| due_ms)
    }

    /// Those whose time has come.
    pub(super) fn due(&self, now_ms: u64) -> Vec<K> {
        let has_come = |&&(due_ms, _): &&(u64, K)| due_ms <= now_ms;
        self.order.iter().take_while(has_come).map(|&(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_next_however_times_change() {
        let mut deadlines = Deadlines::default();
        assert_eq!((deadlines.next_ms(), deadlines.due(u64::MAX)), (None, vec![]));
        for (name, due_ms) in [('a', 30), ('b', 20), ('c', 20)] {
            deadlines.set(name, Some(due_ms));
        }
        assert_eq!((deadlines.next_ms(), deadlines.due(20)), (Some(20), vec!['b', 'c']));
        deadlines.set('b', Some(40));
        deadlines.set('c', None);
        deadlines.set('c', None);
        deadlines.set('a', Some(30));
        assert_eq!((deadlines.next_ms(), deadlines.due(29)), (Some(30), vec![]));
        assert_eq!(deadlines.due(40), ['a', 'b']);
        deadlines.set('a', None);
        deadlines.set('b', None);
        assert!(deadlines.of.is_empty() && deadlines.order.is_empty());
    }
}
