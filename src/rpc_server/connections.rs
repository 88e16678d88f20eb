//! The TCP connections there are, and who makes room for a newcomer where there may be no more.
//!
//! A connection is idle while nothing of it is in flight and no part of a record has come, read or
//! not. Where a limit is reached the one that has been idle for longest is closed, of those whom
//! the limit is about: the newcomer's own host, the hosts that may use no export, or the host with
//! the most connections. Clients connect again when they have something to ask. One that is not
//! idle is never closed for another: where all are busy, the newcomer is refused.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::CONNECTION_REQUESTS_MAX;
use super::link::has_input;
use super::share::network_of;

/// How many TCP connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all hosts together.
    pub all: usize,
    /// Of one host: an IPv4 address, or an IPv6 network of 64 bits.
    pub per_host: usize,
    /// Of all hosts together that may use no export.
    pub strangers: usize,
    /// How long one may be idle.
    pub idle: Duration,
}

impl ConnectionLimits {
    /// So many of all hosts, and the parts of that which a host and the strangers have unless
    /// something else is said.
    #[must_use]
    pub const fn new(all: usize) -> Self {
        Self {
            all,
            per_host: if all < 4 { 1 } else { all / 4 },
            strangers: if all < 16 { 1 } else { all / 16 },
            idle: Duration::from_secs(15 * 60),
        }
    }
}

/// How many connections are looked at that turn out to be busy, before a newcomer is refused.
const TRIED_MAX: usize = 64;

/// Waits for a record of which nothing has come.
const WAITS: u64 = 0;
/// A part of a record has come, or a request is about to begin.
const READS: u64 = 1;
/// It is closed for another.
const EVICTED: u64 = 2;
/// What a record adds: so a word that is the same has seen none since.
const RECORD: u64 = 4;

/// A connection's place among all, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    seen: Arc<Seen>,
    /// Cancelled where it is to be closed for another.
    pub(super) evicted: CancellationToken,
}

/// What is seen of a connection.
#[derive(Debug)]
struct Seen {
    host: IpAddr,
    stranger: bool,
    evicted: CancellationToken,
    /// One of the three above, and how many records began.
    word: AtomicU64,
    /// When something came or went last, in milliseconds.
    active_ms: AtomicU64,
    start: Instant,
    /// A place for each of its requests.
    requests: Arc<Semaphore>,
    socket: OnceLock<Weak<OwnedReadHalf>>,
}

#[derive(Debug)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    start: Instant,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Seen>>,
    hosts: HashMap<IpAddr, usize>,
    strangers: usize,
}

/// Why there is no room for one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Host,
    Strangers,
}

impl Full {
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::All => "all that there may be are busy",
            Self::Host => "all that its host may have are busy",
            Self::Strangers => "all of the hosts that may use no export are busy",
        }
    }
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, start: Instant::now(), table: Mutex::default() })
    }

    pub(super) const fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// A place for one more of a host; `stranger`: it may use no export.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr, stranger: bool) -> Result<Place, Full> {
        let host = network_of(peer.ip());
        let mut table = self.table();
        let own = table.hosts.get(&host).copied().unwrap_or_default();
        if own >= self.limits.per_host {
            table.make_room(|seen| seen.host == host).ok_or(Full::Host)?;
        }
        if stranger && table.strangers >= self.limits.strangers {
            table.make_room(|seen| seen.stranger).ok_or(Full::Strangers)?;
        }
        if table.open.len() >= self.limits.all {
            table.make_room(|_| true).ok_or(Full::All)?;
        }
        let evicted = CancellationToken::new();
        let seen = Arc::new(Seen {
            host,
            stranger,
            evicted: evicted.clone(),
            word: AtomicU64::new(WAITS),
            active_ms: AtomicU64::new(0),
            start: self.start,
            requests: Arc::new(Semaphore::new(CONNECTION_REQUESTS_MAX)),
            socket: OnceLock::new(),
        });
        seen.is_active();
        let number = table.next;
        table.next += 1;
        table.add(number, Arc::clone(&seen));
        drop(table);
        Ok(Place { connections: Arc::clone(self), number, seen, evicted })
    }

    /// The table is whole between any two uses, so a panic elsewhere leaves it usable.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, number: u64, seen: Arc<Seen>) {
        *self.hosts.entry(seen.host).or_default() += 1;
        self.strangers += usize::from(seen.stranger);
        self.open.insert(number, seen);
    }

    fn remove(&mut self, number: u64) {
        let Some(seen) = self.open.remove(&number) else { return };
        self.strangers -= usize::from(seen.stranger);
        if let Some(own) = self.hosts.get_mut(&seen.host) {
            *own -= 1;
            if *own == 0 {
                self.hosts.remove(&seen.host);
            }
        }
    }

    /// Closes an idle connection of those that `may` go: of the host with the most, the one that
    /// has been idle for longest. `None` where none is idle.
    fn make_room(&mut self, may: impl Fn(&Seen) -> bool) -> Option<()> {
        let mut tried: Vec<u64> = Vec::new();
        let gone = loop {
            let idle = self.open.iter().filter(|(number, seen)| {
                may(seen) && seen.idle().is_some() && !tried.contains(number)
            });
            let (number, seen) = idle.min_by_key(|(number, seen)| {
                let most = self.hosts.get(&seen.host).copied().unwrap_or_default();
                (Reverse(most), seen.active_ms.load(Ordering::Relaxed), **number)
            })?;
            if seen.evict() {
                break *number;
            }
            // Something came of it just now.
            tried.push(*number);
            if tried.len() > TRIED_MAX {
                return None;
            }
        };
        self.remove(gone);
        Some(())
    }
}

impl Seen {
    fn is_active(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active_ms.store(now, Ordering::Relaxed);
    }

    /// Its word where it is idle.
    fn idle(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        let nothing_in_flight = self.requests.available_permits() == CONNECTION_REQUESTS_MAX;
        (word % RECORD == WAITS && nothing_in_flight).then_some(word)
    }

    /// Evicts it unless it is no longer idle: a record that began since has changed the word.
    fn evict(&self) -> bool {
        let socket = self.socket.get().and_then(Weak::upgrade);
        if socket.is_some_and(|socket| has_input(&socket)) {
            return false;
        }
        let evicted = self.idle().is_some_and(|word| {
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            self.word.compare_exchange(word, word + EVICTED, order.0, order.1).is_ok()
        });
        if evicted {
            self.evicted.cancel();
        }
        evicted
    }
}

impl Place {
    /// A place for each of the connection's requests.
    pub(super) fn requests(&self) -> &Arc<Semaphore> {
        &self.seen.requests
    }

    /// Says where what comes is read.
    pub(super) fn reads_from(&self, socket: &Arc<OwnedReadHalf>) {
        let _ = self.seen.socket.set(Arc::downgrade(socket));
    }

    /// Whether nothing is in flight.
    pub(super) fn rests(&self) -> bool {
        self.seen.requests.available_permits() == CONNECTION_REQUESTS_MAX
    }

    /// A part of a record has come. Returns whether it may be read on: not where the connection is
    /// to be closed for another, and then nothing of that is done.
    pub(super) fn reads(&self) -> bool {
        self.seen.is_active();
        let word = self.seen.word.load(Ordering::Relaxed);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        word % RECORD == READS
            || word % RECORD == WAITS
                && self
                    .seen
                    .word
                    .compare_exchange(word, word + RECORD + READS, order.0, order.1)
                    .is_ok()
    }

    /// It waits for the next record.
    pub(super) fn waits(&self) {
        let word = self.seen.word.load(Ordering::Relaxed);
        if word % RECORD == READS {
            // Only the reader, who calls this, leaves that state.
            self.seen.word.store(word - READS, Ordering::Release);
        }
    }

    /// Notes when an answer went, in whatever task.
    pub(super) fn activity(&self) -> impl Fn() + Send + 'static {
        let seen = Arc::clone(&self.seen);
        move || seen.is_active()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: usize, per_host: usize, strangers: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits { all, per_host, strangers, ..ConnectionLimits::new(1) })
    }

    fn peer(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 700).into()
    }

    /// Makes it the one that has been idle for so many milliseconds less.
    fn active(place: &Place, ms: u64) {
        place.seen.active_ms.store(ms, Ordering::Relaxed);
    }

    #[test]
    fn the_longest_idle_one_of_the_host_with_the_most_makes_room() {
        let connections = limits(5, 4, 5);
        let mut places: Vec<Place> =
            [1, 1, 1, 2, 2].map(|host| connections.admit(peer(host), false).expect("room")).into();
        // Another's is idle for longer, but that host has fewer.
        for (place, ms) in places.iter().zip([30, 10, 20, 1, 2]) {
            active(place, ms);
        }
        places.push(connections.admit(peer(3), false).expect("room is made"));
        let evicted = |places: &[Place]| -> Vec<bool> {
            places.iter().map(|place| place.evicted.is_cancelled()).collect()
        };
        assert_eq!(evicted(&places), [false, true, false, false, false, false]);
        assert!(!places[1].reads(), "nothing of it is done any more");
        // That one is gone from the table before it is from the socket.
        drop(places.remove(1));
        assert_eq!(connections.table().open.len(), 5);
    }

    #[test]
    fn what_is_busy_makes_room_for_nobody() {
        let connections = limits(3, 2, 1);
        let reading = connections.admit(peer(1), false).expect("room");
        let in_flight = connections.admit(peer(1), false).expect("room");
        let idle = connections.admit(peer(2), false).expect("room");
        assert!(reading.reads());
        assert!(in_flight.reads());
        let request = in_flight.requests().clone().try_acquire_owned().expect("a place");
        in_flight.waits();
        assert_eq!(connections.admit(peer(1), false).err(), Some(Full::Host));
        let newcomer = connections.admit(peer(3), false).expect("the idle one goes");
        assert!(idle.evicted.is_cancelled() && newcomer.reads());
        assert_eq!(connections.admit(peer(4), false).err(), Some(Full::All));
        // Its answer is sent: now it is idle.
        drop(request);
        let other = connections.admit(peer(1), false).expect("room is made");
        assert!(in_flight.evicted.is_cancelled() && !reading.evicted.is_cancelled());
        reading.waits();
        drop(connections.admit(peer(1), false).expect("room is made"));
        assert!(reading.evicted.is_cancelled() && !other.evicted.is_cancelled());
    }

    #[test]
    fn strangers_have_a_share_of_their_own_and_a_network_of_ipv6_is_one_host() {
        let connections = limits(10, 2, 2);
        let v6 = |host: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, host, 0, 0, 1], 700));
        let first: Vec<Place> =
            (0..2).map(|host| connections.admit(v6(host), false).expect("room")).collect();
        first.iter().for_each(|place| assert!(place.reads()));
        assert_eq!(connections.admit(v6(3), false).err(), Some(Full::Host));
        let strangers: Vec<Place> =
            (1..3).map(|host| connections.admit(peer(host), true).expect("room")).collect();
        assert!(strangers[1].reads());
        let third = connections.admit(peer(3), true).expect("room is made");
        assert!(strangers[0].evicted.is_cancelled() && third.reads());
        assert_eq!(connections.admit(peer(4), true).err(), Some(Full::Strangers));
        drop((first, strangers, third));
        let table = connections.table();
        assert_eq!((table.open.len(), table.hosts.len(), table.strangers), (0, 0, 0));
    }
}
