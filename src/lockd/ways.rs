//! The ways on which results of messages go: which are at rest, and which is given up for another.
//!
//! Anybody may send messages under any address, and each address is a way. So where there are too
//! many, one makes room that nothing is under way on: first those to a client that has no port, and
//! of them, as of the others, the one that was used least lately.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Whether it has a port, and when it came to rest.
type Rank = (bool, u64);

/// Ways of the name `K` on which items `T` go, each to who has its receiver.
#[derive(Debug)]
pub(super) struct Ways<K, T> {
    ways: HashMap<K, Way<T>>,
    resting: BTreeMap<Rank, K>,
    turns: u64,
    ways_max: usize,
}

#[derive(Debug)]
struct Way<T> {
    inbox: UnboundedSender<T>,
    resting: Option<Rank>,
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum Put<T> {
    /// It is on its way.
    Known,
    /// It is on a new one, for which another was given up or not.
    New { arrived: UnboundedReceiver<T>, given_up: bool },
    /// It is dropped: there are too many, and none at rest.
    Full,
}

impl<K: Copy + Eq + Hash, T> Ways<K, T> {
    /// Of so many ways at the most.
    pub(super) fn new(ways_max: usize) -> Self {
        Self { ways: HashMap::new(), resting: BTreeMap::new(), turns: 0, ways_max }
    }

    /// Sends an item.
    pub(super) fn put(&mut self, name: K, item: T) -> Put<T> {
        if let Some(way) = self.ways.get_mut(&name) {
            if let Some(rank) = way.resting.take() {
                self.resting.remove(&rank);
            }
            // Who has the receiver ends the way before it lets go of it.
            let _ = way.inbox.send(item);
            return Put::Known;
        }
        let full = self.ways.len() >= self.ways_max;
        let given_up = full.then(|| self.resting.pop_first()).flatten();
        match given_up {
            Some((_, name)) => drop(self.ways.remove(&name)),
            None if full => return Put::Full,
            None => {}
        }
        let (inbox, arrived) = unbounded_channel();
        let _ = inbox.send(item);
        self.ways.insert(name, Way { inbox, resting: None });
        Put::New { arrived, given_up: given_up.is_some() }
    }

    /// Nothing is under way on it any more.
    pub(super) fn rest(&mut self, name: K, has_port: bool) {
        self.turns += 1;
        if let Some(way) = self.ways.get_mut(&name) {
            let rank = (has_port, self.turns);
            if let Some(before) = way.resting.replace(rank) {
                self.resting.remove(&before);
            }
            self.resting.insert(rank, name);
        }
    }

    /// Ends a way.
    pub(super) fn end(&mut self, name: K) {
        if let Some(Way { resting: Some(rank), .. }) = self.ways.remove(&name) {
            self.resting.remove(&rank);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts one on each way, which must be new, and gives the receivers.
    fn fill(ways: &mut Ways<char, u32>, names: &str) -> HashMap<char, UnboundedReceiver<u32>> {
        let put = |name| match ways.put(name, 0) {
            Put::New { arrived, given_up: false } => (name, arrived),
            other => panic!("{name}: {other:?}"),
        };
        names.chars().map(put).collect()
    }

    fn is_given_up(arrived: &mut UnboundedReceiver<u32>) -> bool {
        while arrived.try_recv().is_ok() {}
        arrived.is_closed()
    }

    #[test]
    fn those_without_a_port_make_room_first_then_those_used_least_lately() {
        let mut ways = Ways::new(4);
        let mut arrived = fill(&mut ways, "abcd");
        for (name, has_port) in [('a', true), ('b', true), ('c', false), ('d', false)] {
            ways.rest(name, has_port);
        }
        // It is used again, and so the last to go.
        assert!(matches!(ways.put('a', 1), Put::Known));
        ways.rest('a', true);
        for (number, gone) in (0..).zip("cdba".chars()) {
            assert!(!is_given_up(arrived.get_mut(&gone).expect("a way")), "{gone}");
            let Put::New { given_up: true, .. } = ways.put(char::from(b'0' + number), 0) else {
                panic!("no room");
            };
            assert!(is_given_up(arrived.get_mut(&gone).expect("a way")), "{gone}");
        }
        assert!((ways.ways.len(), ways.resting.len()) == (4, 0));
    }

    #[test]
    fn a_way_that_something_is_under_way_on_makes_no_room() {
        let mut ways = Ways::new(2);
        let mut arrived = fill(&mut ways, "ab");
        assert!(matches!(ways.put('c', 0), Put::Full));
        ways.rest('a', true);
        assert!(matches!(ways.put('a', 1), Put::Known));
        assert!(matches!(ways.put('c', 0), Put::Full));
        assert_eq!(
            arrived.get_mut(&'a').map(|a| (a.try_recv(), a.try_recv())),
            Some((Ok(0), Ok(1)))
        );
        ways.rest('b', true);
        ways.rest('b', false);
        ways.end('b');
        assert!(ways.resting.is_empty());
        fill(&mut ways, "c");
    }
}
