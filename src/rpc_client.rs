//! Calls from us to a client's programs: its port mapper, its lock manager, its status monitor.
//!
//! A call leaves from a given address of ours, because a client knows its server by the address
//! that it mounted and takes a callback from no other.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::portmap::{self, Binding, Mapping, Protocol};
use cleat_rpc::record::{Assembler, RecordError, mark};
use cleat_rpc::{AuthSys, CallHeader, Credential, Reader, Writer};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::rpc_server::Transport;

/// The most bytes of a reply to one of our calls: none of them has a large one.
const REPLY_BYTES_MAX: usize = 8192;
/// How long a datagram's answer is awaited before it is sent again; doubled each time.
const RESEND: Duration = Duration::from_millis(700);
/// The reserved ports that calls leave from. Services have most of those below (bindresvport(3)
/// and the Linux kernel begin near here too).
const RESERVED_PORTS: RangeInclusive<u16> = 665..=1023;
/// How many of them are tried before any port will do.
const RESERVED_TRIES: usize = 64;

/// How many calls of one kind may be under way, where the limit of descriptors allows more.
const IN_FLIGHT_MAX: usize = 65_536;

/// How many calls of one kind may be under way: a quarter of the descriptors at most, of which each
/// call has one.
#[must_use]
pub fn in_flight_max() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current;
    let quarter = limit.and_then(|limit| usize::try_from(limit / 4).ok());
    quarter.map_or(IN_FLIGHT_MAX, |quarter| quarter.min(IN_FLIGHT_MAX))
}

/// Where and how to reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The client.
    pub to: IpAddr,
    /// The address of ours that the client knows.
    pub from: IpAddr,
    /// How to send.
    pub transport: Transport,
}

/// A procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Procedure {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure's number.
    pub number: u32,
}

/// Why a call brought no results.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There is no way to the client, or nothing listens there: it did not get the call.
    #[error("{0}")]
    NotConnected(io::Error),
    /// The network failed after the call was sent.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The answer was no results.
    #[error("{0}")]
    Refused(#[from] ReplyError),
    /// The stream from the other side is no record stream.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// The client's port mapper knows no such program.
    #[error("program {0} is not registered there")]
    NotRegistered(u32),
}

/// Whether a datagram that is not answered is sent again within one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Once only: for a procedure whose second answer may differ from its first.
    Never,
    /// Again and again, at growing intervals, while patience lasts.
    UntilAnswered,
}

/// Calls one procedure at `port` and returns its results, within `patience` altogether.
pub async fn call(
    route: Route,
    port: u16,
    procedure: Procedure,
    arguments: &[u8],
    resend: Resend,
    patience: Duration,
) -> Result<Bytes, CallError> {
    let (xid, message) = message(procedure, arguments);
    let deadline = Instant::now() + patience;
    // Which of the two was cut short decides whether the other side may have acted on the call.
    let late = |_| CallError::NotConnected(io::ErrorKind::TimedOut.into());
    let connected =
        timeout_at(deadline, connect(route, port, procedure.program != portmap::PROGRAM));
    let socket = connected.await.map_err(late)??;
    let exchange = async {
        match socket {
            Connected::Tcp(stream) => over_tcp(stream, xid, &message).await,
            Connected::Udp(socket) => over_udp(socket, xid, &message, resend).await,
        }
    };
    timeout_at(deadline, exchange).await.unwrap_or(Err(CallError::Timeout(patience)))
}

/// A call as bytes, and its xid.
#[must_use]
pub fn message(procedure: Procedure, arguments: &[u8]) -> (u32, Bytes) {
    // Numbers of an earlier instance must not meet a client's duplicate cache: in a container that
    // had the same process id.
    static XID: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(random()));
    let xid = XID.fetch_add(1, Ordering::Relaxed);
    let mut message = Writer::new();
    CallHeader {
        xid,
        program: procedure.program,
        version: procedure.version,
        procedure: procedure.number,
        credential: Credential::Sys(AuthSys::default()),
    }
    .encode(&mut message);
    message.raw(arguments);
    (xid, message.into_bytes())
}

fn random() -> u32 {
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    // The low bits, as the high ones say what sort of UUID it is.
    u32::try_from(random & u64::from(u32::MAX)).unwrap_or_default()
}

enum Connected {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// Connects, with a port that only root may have where that is ours to take and `reserved` asks
/// for it: some clients believe no other.
async fn connect(route: Route, port: u16, reserved: bool) -> Result<Connected, CallError> {
    let to = address(route.to, port, route.from);
    if reserved {
        for _ in 0..RESERVED_TRIES {
            let from = address(route.from, reserved_port(), route.from);
            match connect_from(from, to, route.transport).await {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
                // Another has the port, alone or towards this peer.
                Err(error)
                    if [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable]
                        .contains(&error.kind()) => {}
                other => return other.map_err(CallError::NotConnected),
            }
        }
    }
    let from = address(route.from, 0, route.from);
    connect_from(from, to, route.transport).await.map_err(CallError::NotConnected)
}

async fn connect_from(
    from: SocketAddr,
    to: SocketAddr,
    transport: Transport,
) -> io::Result<Connected> {
    Ok(match transport {
        Transport::Tcp => {
            let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if from.port() == 0 {
                // Else a port is taken for good here, for all destinations, by every call that
                // ended in the last minute.
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            } else {
                // The same, for the few reserved ones.
                socket.set_reuseaddr(true)?;
            }
            socket.bind(from)?;
            Connected::Tcp(socket.connect(to).await?)
        }
        Transport::Udp => {
            let socket = UdpSocket::bind(from).await?;
            socket.connect(to).await?;
            Connected::Udp(socket)
        }
    })
}

/// Another reserved port at each call, in turn.
fn reserved_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = RESERVED_PORTS.end() - RESERVED_PORTS.start() + 1;
    RESERVED_PORTS.end() - NEXT.fetch_add(1, Ordering::Relaxed) % count
}

/// The address with its port and, where it is of one link, the interface that `local` is on. Only
/// addresses are on record, for an interface may have another number after a restart.
fn address(ip: IpAddr, port: u16, local: IpAddr) -> SocketAddr {
    match (ip, local) {
        (IpAddr::V6(ip), IpAddr::V6(local)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, interface_of(local).unwrap_or(0)).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

/// The number of the interface that has this address.
fn interface_of(local: Ipv6Addr) -> Option<u32> {
    nix::ifaddrs::getifaddrs().ok()?.find_map(|each| {
        let address = *each.address?.as_sockaddr_in6()?;
        (address.ip() == local).then(|| address.scope_id())
    })
}

async fn over_udp(
    socket: UdpSocket,
    xid: u32,
    message: &[u8],
    resend: Resend,
) -> Result<Bytes, CallError> {
    let mut buffer = vec![0; REPLY_BYTES_MAX];
    let mut wait = RESEND;
    socket.send(message).await.map_err(CallError::NotConnected)?;
    let mut deadline = Instant::now() + wait;
    let mut sent = 1;
    loop {
        match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                if let Some(results) = results_of(&buffer[..length], xid) {
                    return results;
                }
            }
            // The one datagram came back from a closed port.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused && sent == 1 => {
                return Err(CallError::NotConnected(error));
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                wait *= 2;
                deadline = Instant::now() + wait;
                if resend == Resend::UntilAnswered {
                    socket.send(message).await?;
                    sent += 1;
                }
            }
        }
    }
}

async fn over_tcp(mut stream: TcpStream, xid: u32, message: &[u8]) -> Result<Bytes, CallError> {
    let record = [&mark(message.len())[..], message].concat();
    stream.write_all(&record).await?;
    let mut assembler = Assembler::new(REPLY_BYTES_MAX);
    let mut buffer = BytesMut::with_capacity(REPLY_BYTES_MAX);
    loop {
        while let Some(record) = assembler.next(&mut buffer)? {
            if let Some(results) = results_of(&record, xid) {
                end_at_once(&stream);
                return results;
            }
        }
        buffer.reserve(1024);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Leaves no port behind that waits for a minute: there are few that only root may have, and locks
/// may be handed over all day. All that was sent has arrived, for it was answered.
fn end_at_once(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The results, if the record is the reply to our call.
fn results_of(record: &[u8], xid: u32) -> Option<Result<Bytes, CallError>> {
    let (replied, results) = decode_reply(record)?;
    (replied == xid).then(|| Ok(Bytes::copy_from_slice(results?.rest())))
}

/// Asks the client's port mapper where a program listens (RFC 1833): portmap v2 for IPv4, and for
/// IPv6 rpcbind v4 or, where that is not known, v3.
pub async fn find_port(
    route: Route,
    program: u32,
    version: u32,
    patience: Duration,
) -> Result<u16, CallError> {
    let protocol = match route.transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    let ask = |version, number, arguments: Writer| async move {
        let procedure = Procedure { program: portmap::PROGRAM, version, number };
        let (arguments, resend) = (arguments.into_bytes(), Resend::UntilAnswered);
        call(route, portmap::PORT, procedure, &arguments, resend, patience).await
    };
    let port = if route.to.is_ipv4() {
        let mut arguments = Writer::new();
        arguments.put(&Mapping { program, version, protocol: protocol as u32, port: 0 });
        let results = ask(2, portmap::v2::GETPORT, arguments).await?;
        Reader::new(&results).u32().ok().and_then(|port| u16::try_from(port).ok())
    } else {
        let arguments = || {
            let address = SocketAddr::new(route.to, portmap::PORT);
            let mut writer = Writer::new();
            writer.put(&Binding {
                program,
                version,
                netid: protocol.netid(route.to).into(),
                address: portmap::universal_address(address).into(),
                owner: Vec::new(),
            });
            writer
        };
        let results = match ask(4, portmap::v3::GETADDR, arguments()).await {
            Err(CallError::Refused(_)) => ask(3, portmap::v3::GETADDR, arguments()).await?,
            other => other?,
        };
        let mut reader = Reader::new(&results);
        let address = reader.opaque(portmap::STRING_BYTES_MAX).ok();
        let text = address.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(portmap::parse_universal_address).map(|address| address.port())
    };
    port.filter(|port| *port != 0).ok_or(CallError::NotRegistered(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NULL: Procedure = Procedure { program: 100_021, version: 4, number: 0 };
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn numbers_begin_anywhere_and_go_on_one_by_one() {
        assert_ne!((random(), random(), random()), (random(), random(), random()));
        let ((first, _), (next, _)) = (message(NULL, &[]), message(NULL, &[]));
        assert!(next.wrapping_sub(first) < 1000, "{first} {next}");
    }

    async fn fails(transport: Transport, port: u16) -> CallError {
        let route = Route { to: HERE, from: HERE, transport };
        let patience = Duration::from_millis(300);
        call(route, port, NULL, &[], Resend::Never, patience).await.expect_err("no answer")
    }

    #[tokio::test]
    async fn what_never_arrived_is_told_from_what_was_not_answered() {
        let silent = std::net::UdpSocket::bind((HERE, 0)).expect("a socket");
        let port = silent.local_addr().expect("its address").port();
        assert!(matches!(fails(Transport::Udp, port).await, CallError::Timeout(_)));
        drop(silent);
        assert!(matches!(fails(Transport::Udp, port).await, CallError::NotConnected(_)));

        let listener = TcpSocket::new_v4().expect("a socket");
        listener.bind((HERE, 0).into()).expect("bound");
        let listener = listener.listen(0).expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        assert!(matches!(fails(Transport::Tcp, port).await, CallError::Timeout(_)));
        // Nobody accepts, and that one has all the room: to the next the host is as if away.
        assert!(matches!(fails(Transport::Tcp, port).await, CallError::NotConnected(_)));
    }
}
