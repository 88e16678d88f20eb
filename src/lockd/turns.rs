//! The order of an owner's calls about one file: they come to the lock core as they came here.
//!
//! A client whose process is killed while it asks for a lock sends UNLOCK or CANCEL right behind
//! its LOCK, whose answer nobody awaits. To find the file of each takes a moment on a thread of its
//! own, and an UNLOCK that came out of that first would find nothing to release: the lock would
//! then be held by nobody, for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Whose call about which file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) client: IpAddr,
    pub(super) fh: Vec<u8>,
    pub(super) owner: Owner,
}

/// An owner, as its client tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Of locks, by its number: FreeBSD's handle differs between the LOCK and the UNLOCK of one.
    Lock(u32),
    /// Of share reservations, by its handle.
    Share(Vec<u8>),
}

/// The calls whose turn is still to come. Each is one that the listener has let in.
#[derive(Debug, Default)]
pub(super) struct Turns {
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    next: u64,
    /// The last call in each place, by its number, and what is cancelled when its turn is over.
    calls: HashMap<Place, (u64, CancellationToken)>,
}

/// A call's place behind those before it. Its turn is over when it passes it on; where this is
/// dropped instead, when theirs are.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    place: Place,
    number: u64,
    before: Option<CancellationToken>,
    over: CancellationToken,
}

impl Turns {
    /// A turn behind all that were taken before by this owner for this file.
    pub(super) fn take(self: &Arc<Self>, place: Place) -> Turn {
        let over = CancellationToken::new();
        let mut last = self.last();
        let number = last.next;
        last.next += 1;
        let before = last.calls.insert(place.clone(), (number, over.clone()));
        let (turns, before) = (Arc::clone(self), before.map(|(_, over)| over));
        Turn { turns, place, number, before, over }
    }

    /// The table is whole between any two uses, so a panic elsewhere leaves it usable.
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Idempotent.
    fn over(&self, place: &Place, number: u64, over: &CancellationToken) {
        let mut last = self.last();
        if last.calls.get(place).is_some_and(|(latest, _)| *latest == number) {
            last.calls.remove(place);
        }
        over.cancel();
    }
}

impl Turn {
    /// Returns when the turns before this are over.
    pub(super) async fn come(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }

    /// Lets the next have its turn. To be called when this one's has come.
    pub(super) fn pass(&self) {
        self.turns.over(&self.place, self.number, &self.over);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.over.is_cancelled() {
            return;
        }
        let (turns, number, over) = (Arc::clone(&self.turns), self.number, self.over.clone());
        let place = self.place.clone();
        let waits = self.before.take().filter(|before| !before.is_cancelled());
        match waits.zip(Handle::try_current().ok()) {
            Some((before, runtime)) => drop(runtime.spawn(async move {
                before.cancelled().await;
                turns.over(&place, number, &over);
            })),
            None => turns.over(&place, number, &over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    fn place(client: IpAddr, fh: &[u8], svid: u32) -> Place {
        Place { client, fh: fh.to_vec(), owner: Owner::Lock(svid) }
    }

    async fn has_come(turn: &Turn) -> bool {
        tokio::time::timeout(Duration::from_millis(20), turn.come()).await.is_ok()
    }

    #[tokio::test]
    async fn turns_come_in_order_for_each_owner_and_file() {
        let turns = Arc::new(Turns::default());
        let [first, second] = [(); 2].map(|()| turns.take(place(A, b"f", 1)));
        let others = [place(A, b"g", 1), place(B, b"f", 1), place(A, b"f", 2)];
        let others = others.map(|place| turns.take(place));
        for turn in [&first].into_iter().chain(&others) {
            assert!(has_come(turn).await);
        }
        assert!(!has_come(&second).await);
        first.pass();
        assert!(has_come(&second).await);
        let third = turns.take(place(A, b"f", 1));
        drop(first);
        assert!(!has_come(&third).await);
        second.pass();
        assert!(has_come(&third).await);
        drop((third, second, others));
        assert!(turns.last().calls.is_empty());
    }

    #[tokio::test]
    async fn one_that_gives_up_its_turn_lets_nobody_overtake_those_before_it() {
        let turns = Arc::new(Turns::default());
        let [first, second, third] = [(); 3].map(|()| turns.take(place(A, b"f", 1)));
        drop(second);
        assert!(!has_come(&third).await);
        drop(third);
        let fourth = turns.take(place(A, b"f", 1));
        assert!(!has_come(&fourth).await);
        drop(first);
        fourth.come().await;
        drop(fourth);
        assert!(turns.last().calls.is_empty());
    }
}
