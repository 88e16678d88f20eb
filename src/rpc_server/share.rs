//! What the clients may have of the listener at a time: all of them, and each address a share.
//!
//! A host that takes all it can get, because it is broken or means harm, keeps nobody else out:
//! of everything there is enough left for the other hosts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::program::{Transport, Work};
use super::{RECORDS_BYTES_MAX, REPLIES_BYTES_MAX, TCP_REQUESTS_MAX, UDP_REQUESTS_MAX};

/// One address may have this part of everything.
const SHARE: usize = 4;

/// What stands for the address of all who may use no export.
const STRANGERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What there is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Requests over TCP that are being answered and may wait for the disks that are served.
    FileRequests,
    /// The same of the lock service.
    LockRequests,
    /// The same two in datagrams.
    FileDatagrams,
    LockDatagrams,
    /// Bytes of large records that are being received or answered.
    RecordBytes,
    /// Bytes of large replies that are being made or sent.
    ReplyBytes,
}

impl Of {
    const ALL: [Self; 6] = [
        Self::FileRequests,
        Self::LockRequests,
        Self::FileDatagrams,
        Self::LockDatagrams,
        Self::RecordBytes,
        Self::ReplyBytes,
    ];

    pub(super) const fn requests(work: Work, transport: Transport) -> Self {
        match (work, transport) {
            (Work::Files, Transport::Tcp) => Self::FileRequests,
            (Work::Locks, Transport::Tcp) => Self::LockRequests,
            (Work::Files, Transport::Udp) => Self::FileDatagrams,
            (Work::Locks, Transport::Udp) => Self::LockDatagrams,
        }
    }

    const fn max(self) -> usize {
        match self {
            Self::FileRequests | Self::LockRequests => TCP_REQUESTS_MAX,
            Self::FileDatagrams | Self::LockDatagrams => UDP_REQUESTS_MAX,
            Self::RecordBytes => RECORDS_BYTES_MAX,
            Self::ReplyBytes => REPLIES_BYTES_MAX,
        }
    }

    /// The most that one address may have.
    pub(super) const fn share(self) -> usize {
        self.max() / SHARE
    }
}

/// Some of everything, in the order of [`Of::ALL`].
#[derive(Debug)]
struct Stock([Arc<Semaphore>; Of::ALL.len()]);

impl Stock {
    fn new(amount: impl Fn(Of) -> usize) -> Self {
        Self(Of::ALL.map(|of| Arc::new(Semaphore::new(amount(of)))))
    }

    fn of(&self, of: Of) -> Arc<Semaphore> {
        Arc::clone(&self.0[of as usize])
    }
}

/// What all clients may have, and the hosts that have some of it.
#[derive(Debug)]
pub(super) struct Hosts {
    all: Stock,
    known: Mutex<HashMap<IpAddr, Weak<Host>>>,
}

/// One address, with its share. Known as long as it has something, or a connection asks for it.
#[derive(Debug)]
pub(super) struct Host {
    hosts: Arc<Hosts>,
    address: IpAddr,
    own: Stock,
}

/// What was taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    /// An address that is still served is not taken for a new one.
    _host: Arc<Host>,
}

/// What counts as one host: an IPv4 address, or a network of IPv6 with a prefix of 64 bits, for
/// whoever is in one may take any address of it. The link-local one is every link's, so there each
/// address counts.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() && !v6.is_loopback() => {
            Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()
        }
        other => other,
    }
}

impl Hosts {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { all: Stock::new(Of::max), known: Mutex::default() })
    }

    /// The host at an address. All `strangers`, who may use no export, are one.
    pub(super) fn host(self: &Arc<Self>, peer: IpAddr, stranger: bool) -> Arc<Host> {
        let address = if stranger { STRANGERS } else { network_of(peer) };
        let mut known = self.known();
        if let Some(host) = known.get(&address).and_then(Weak::upgrade) {
            return host;
        }
        let host = Arc::new(Host { hosts: Arc::clone(self), address, own: Stock::new(Of::share) });
        known.insert(address, Arc::downgrade(&host));
        host
    }

    /// The table is whole between any two uses, so a panic elsewhere leaves it usable.
    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Weak<Host>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Takes so much of it where that is there.
    pub(super) fn try_take(self: &Arc<Self>, of: Of) -> Option<Part> {
        let own = self.own.of(of).try_acquire_owned().ok()?;
        let all = self.hosts.all.of(of).try_acquire_owned().ok()?;
        Some(Part { own, all, _host: Arc::clone(self) })
    }

    /// Takes so much of it, or of the share where that is less, when it is there.
    pub(super) async fn take(self: &Arc<Self>, of: Of, amount: usize) -> Part {
        let amount = u32::try_from(amount.min(of.share())).unwrap_or(u32::MAX);
        // The own share first: who has to wait for that takes nothing from the others.
        let own = self.own.of(of).acquire_many_owned(amount).await.expect("never closed");
        let all = self.hosts.all.of(of).acquire_many_owned(amount).await.expect("never closed");
        Part { own, all, _host: Arc::clone(self) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let mut known = self.hosts.known();
        // Another of this address may have come in between.
        if known.get(&self.address).is_some_and(|host| host.strong_count() == 0) {
            known.remove(&self.address);
        }
    }
}

impl Part {
    /// Gives back all but so much.
    pub(super) fn shrink(&mut self, amount: usize) {
        for permit in [&mut self.own, &mut self.all] {
            drop(permit.split(permit.num_permits().saturating_sub(amount)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn one_address_has_its_share_and_the_others_theirs() {
        let hosts = Hosts::new();
        let of = Of::FileDatagrams;
        let mut parts = Vec::new();
        for last in 0..4 {
            let host = hosts.host(address(last), false);
            parts.extend((0..of.share()).map(|_| host.try_take(of).expect("its share")));
            assert!(host.try_take(of).is_none());
            assert!(host.try_take(Of::LockDatagrams).is_some());
        }
        assert!(hosts.host(address(4), false).try_take(of).is_none(), "there are no more");
        parts.pop();
        assert!(hosts.host(address(4), false).try_take(of).is_some());
    }

    #[test]
    fn strangers_have_the_share_of_one_and_so_has_a_network_of_ipv6() {
        let v6 = |text: &str| text.parse::<IpAddr>().expect(text);
        let hosts = Hosts::new();
        let same = |one: (IpAddr, bool), other: (IpAddr, bool)| {
            let [one, other] = [one, other].map(|(peer, stranger)| hosts.host(peer, stranger));
            Arc::ptr_eq(&one, &other)
        };
        assert!(same((address(1), true), (v6("2001:db8::1"), true)));
        assert!(!same((address(1), true), (address(1), false)));
        assert!(same((v6("2001:db8::1"), false), (v6("2001:db8::2:0:0:3"), false)));
        assert!(!same((v6("2001:db8::1"), false), (v6("2001:db8:0:1::1"), false)));
        // Every link has the same prefix.
        assert!(!same((v6("fe80::1"), false), (v6("fe80::2"), false)));
    }

    #[test]
    fn an_address_is_known_by_what_it_has_and_then_forgotten() {
        let hosts = Hosts::new();
        let part = hosts.host(address(1), false).try_take(Of::LockDatagrams).expect("some");
        let mapped = address(1).to_string();
        let again = hosts.host(format!("::ffff:{mapped}").parse().expect("an address"), false);
        assert_eq!(
            again.own.of(Of::LockDatagrams).available_permits(),
            Of::LockDatagrams.share() - 1
        );
        drop((part, again));
        assert!(hosts.known().is_empty());
    }

    #[tokio::test]
    async fn what_is_too_much_is_given_back() {
        let hosts = Hosts::new();
        let host = hosts.host(address(1), false);
        let mut part = host.take(Of::ReplyBytes, usize::MAX).await;
        assert_eq!(host.own.of(Of::ReplyBytes).available_permits(), 0);
        part.shrink(10);
        part.shrink(20);
        assert_eq!(host.own.of(Of::ReplyBytes).available_permits(), Of::ReplyBytes.share() - 10);
        let all = hosts.all.of(Of::ReplyBytes);
        assert_eq!(all.available_permits(), REPLIES_BYTES_MAX - 10);
    }
}
