//! What the clients may have of the listener at a time: all of them, and each address a share.
//!
//! A host that takes all it can get, because it is broken or means harm, keeps nobody else out:
//! of everything there is enough left for the other hosts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::program::{Transport, Work};
use super::{
    CONNECTIONS_MAX, RECORDS_BYTES_MAX, REPLIES_BYTES_MAX, TCP_REQUESTS_MAX, UDP_REQUESTS_MAX,
};

/// One address may have this part of everything.
const SHARE: usize = 4;

/// What there is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// TCP connections.
    Connections,
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
    const ALL: [Self; 7] = [
        Self::Connections,
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
            Self::Connections => CONNECTIONS_MAX,
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

/// What counts as one host: an IPv4 address, or a network of IPv6 with a prefix of 64 bits, for whoever
/// is in one may take any address of it. The link-local one is every link's, so there each address
/// counts.
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

    pub(super) fn host(self: &Arc<Self>, peer: IpAddr) -> Arc<Host> {
        let address = network_of(peer);
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
        let share = Of::Connections.share();
        let mut parts = Vec::new();
        for last in 0..4 {
            let host = hosts.host(address(last));
            parts.extend((0..share).map(|_| host.try_take(Of::Connections).expect("its share")));
            assert!(host.try_take(Of::Connections).is_none());
            assert!(host.try_take(Of::LockDatagrams).is_some());
        }
        assert!(hosts.host(address(4)).try_take(Of::Connections).is_none(), "there are no more");
        parts.pop();
        assert!(hosts.host(address(4)).try_take(Of::Connections).is_some());
    }

    #[test]
    fn an_address_is_known_by_what_it_has_and_then_forgotten() {
        let hosts = Hosts::new();
        let part = hosts.host(address(1)).try_take(Of::LockDatagrams).expect("some");
        let mapped = address(1).to_string();
        let again = hosts.host(format!("::ffff:{mapped}").parse().expect("an address"));
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
        let host = hosts.host(address(1));
        let mut part = host.take(Of::ReplyBytes, usize::MAX).await;
        assert_eq!(host.own.of(Of::ReplyBytes).available_permits(), 0);
        part.shrink(10);
        part.shrink(20);
        assert_eq!(host.own.of(Of::ReplyBytes).available_permits(), Of::ReplyBytes.share() - 10);
        let all = hosts.all.of(Of::ReplyBytes);
        assert_eq!(all.available_permits(), REPLIES_BYTES_MAX - 10);
    }
}
