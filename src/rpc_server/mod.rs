//! One listener for every program: takes records, finds the program, sends its answers.

mod answers;
mod connections;
mod dispatch;
pub(crate) mod duplicates;
mod link;
mod once;
mod outbox;
mod packet_info;
pub mod program;
pub(crate) mod share;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use answers::{ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX, ANSWERS_MAX, ANSWERS_PER_CLIENT_MAX};
pub use connections::ConnectionLimits;
use connections::Connections;
use dispatch::Dispatch;
pub use duplicates::DuplicateCounts;
pub use link::Link;
pub use once::{Once, Outcome, Part, Repeat};
pub use outbox::Outbox;
pub use program::{Answer, Call, Program, SMALL_REPLY_BYTES_MAX, Transport, Work};
use share::Hosts;

use crate::seldom::Seldom;

/// The most bytes of data in one READ or WRITE, and of any other reply: what a record has room for.
pub const IO_BYTES_MAX: u32 = 1 << 20;
/// The most bytes of one record: a WRITE's data with its headers.
pub const RECORD_BYTES_MAX: usize = IO_BYTES_MAX as usize + 4096;
/// The most TCP connections at a time unless something else is said: see [`ConnectionLimits`].
pub const CONNECTIONS_MAX: usize = 1024;
/// The most requests of each [`Work`] that are answered at a time over all of TCP. Of this and of
/// each of the following, one client host (an IPv4 address, or an IPv6 network of 64 bits) may have
/// a quarter, and all hosts that may use no export another.
pub const TCP_REQUESTS_MAX: usize = 1024;
/// The most datagrams of each [`Work`] that are answered at a time; more are dropped, and their
/// clients re-send.
pub const UDP_REQUESTS_MAX: usize = 256;
/// The most bytes of large records, such as those of WRITEs, that are received and answered at a
/// time; more wait in the sockets.
pub const RECORDS_BYTES_MAX: usize = 256 << 20;
/// The most bytes of large replies, such as those of READs, that are made and sent at a time; the
/// requests for more wait.
pub const REPLIES_BYTES_MAX: usize = 256 << 20;
/// The most requests of one connection whose answers are not sent; more wait in its socket.
pub const CONNECTION_REQUESTS_MAX: usize = 64;
/// How long a client may take to send a record that it began, or to take a small answer, before
/// its connection is closed.
const STALL: Duration = Duration::from_secs(60);
/// What it must take at least of a large answer, in bytes a second.
const REPLY_BYTES_PER_S_MIN: usize = 16 << 10;

/// Whether calls from an address may use any export.
type Admits = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// What the sockets of a listener share.
#[derive(Clone)]
struct Shared {
    dispatch: Arc<Dispatch>,
    hosts: Arc<Hosts>,
    connections: Arc<Connections>,
    admits: Admits,
    /// Connections and datagrams that there was no room for.
    refused: Arc<Seldom>,
    stall: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    /// Whether a host may use no export. Whoever is on this machine is none of these.
    fn is_stranger(&self, peer: SocketAddr) -> bool {
        !peer.ip().to_canonical().is_loopback() && !(self.admits)(peer)
    }
}

/// The sockets of the listener, bound and not yet served.
pub struct Sockets {
    tcp: Vec<TcpListener>,
    udp: Vec<Arc<UdpSocket>>,
}

impl Sockets {
    /// Binds TCP and UDP on each address. An IPv6 address takes IPv6 alone.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut sockets = Self { tcp: Vec::new(), udp: Vec::new() };
        for address in addresses {
            let tcp = TcpListener::from_std(bound(*address, Type::STREAM)?.into())?;
            // Port 0 is answered with a free one: UDP takes the same.
            let address = tcp.local_addr()?;
            sockets.tcp.push(tcp);
            let udp = UdpSocket::from_std(bound(address, Type::DGRAM)?.into())?;
            packet_info::enable(&udp)?;
            sockets.udp.push(Arc::new(udp));
        }
        Ok(sockets)
    }

    /// The addresses bound, port 0 replaced by the port that was given.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Sends from the UDP sockets.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.udp.clone())
    }
}

fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let stream = kind == Type::STREAM;
    let protocol = if stream { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    if stream {
        // A restarted server takes its port back from connections that are still closing.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if stream {
        socket.listen(1024)?;
    }
    Ok(socket)
}

/// The listener at work.
pub struct Listener {
    dispatch: Arc<Dispatch>,
    hosts: Arc<Hosts>,
    connections: Arc<Connections>,
    admits: Admits,
    stall: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// A listener that answers for these programs.
    #[must_use]
    pub fn new(programs: Vec<Arc<dyn Program>>) -> Self {
        Self::with_stall(programs, STALL)
    }

    /// The same where a client may take so long to send a record that it began, or to take a small
    /// answer.
    #[must_use]
    pub fn with_stall(programs: Vec<Arc<dyn Program>>, stall: Duration) -> Self {
        Self {
            stall,
            dispatch: Arc::new(Dispatch::new(programs)),
            hosts: Hosts::new(),
            connections: Connections::new(ConnectionLimits::new(CONNECTIONS_MAX)),
            admits: Arc::new(|_| true),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The same with these limits of connections. Hosts that `admits` does not know as those of a
    /// client have a small share of everything.
    #[must_use]
    pub fn admitting(
        self,
        limits: ConnectionLimits,
        admits: impl Fn(SocketAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { connections: Connections::new(limits), admits: Arc::new(admits), ..self }
    }

    /// Starts to serve the sockets, in tasks of the runtime it is called in.
    pub fn serve(&self, sockets: Sockets) {
        let shared = Shared {
            dispatch: Arc::clone(&self.dispatch),
            hosts: Arc::clone(&self.hosts),
            connections: Arc::clone(&self.connections),
            admits: Arc::clone(&self.admits),
            refused: Arc::default(),
            stall: self.stall,
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
        };
        for socket in sockets.tcp {
            self.tasks.spawn(tcp::accept(socket, shared.clone()));
        }
        for socket in sockets.udp {
            self.tasks.spawn(udp::serve(socket, shared.clone()));
        }
    }

    /// Tells, whenever it is called, what the duplicate request cache holds.
    pub fn duplicates(&self) -> impl Fn() -> DuplicateCounts + Send + Sync + 'static {
        let dispatch = Arc::clone(&self.dispatch);
        move || dispatch.duplicates()
    }

    /// Stops taking calls, and returns when those in flight are answered or `patience` is over.
    /// Returns whether all were answered.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}
