//! Calls from us to a client's programs: its port mapper, its lock manager, its status monitor.
//!
//! A call leaves from a given address of ours, because a client knows its server by the address
//! that it mounted and takes a callback from no other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::portmap::{self, Binding, Mapping, Protocol};
use cleat_rpc::record::{Assembler, RecordError, mark};
use cleat_rpc::{AuthSys, CallHeader, Credential, Reader, Writer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::rpc_server::Transport;

/// The most bytes of a reply to one of our calls: none of them has a large one.
const REPLY_BYTES_MAX: usize = 8192;
/// How long a datagram's answer is awaited before it is sent again; doubled each time.
const RESEND: Duration = Duration::from_millis(700);

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
    let to = SocketAddr::new(route.to, port);
    let deadline = Instant::now() + patience;
    // Which of the two was cut short decides whether the other side may have acted on the call.
    let late = |_| CallError::NotConnected(io::ErrorKind::TimedOut.into());
    let connected = timeout_at(deadline, connect(to, route.from, route.transport));
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
    static XID: AtomicU32 = AtomicU32::new(0);
    // Numbers of an earlier instance must not meet a client's duplicate cache.
    let xid = XID.fetch_add(1, Ordering::Relaxed) ^ std::process::id().rotate_left(16);
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

enum Connected {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

async fn connect(
    to: SocketAddr,
    from: IpAddr,
    transport: Transport,
) -> Result<Connected, CallError> {
    let from = SocketAddr::new(from, 0);
    let connecting = async {
        Ok(match transport {
            Transport::Tcp => {
                let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                // Else a port is taken for good here, for all destinations, by every call that
                // ended in the last minute.
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
                socket.bind(from)?;
                Connected::Tcp(socket.connect(to).await?)
            }
            Transport::Udp => {
                let socket = UdpSocket::bind(from).await?;
                socket.connect(to).await?;
                Connected::Udp(socket)
            }
        })
    };
    connecting.await.map_err(CallError::NotConnected)
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
                return results;
            }
        }
        buffer.reserve(1024);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
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
