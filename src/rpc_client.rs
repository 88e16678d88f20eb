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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

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
    let message = message.into_bytes();
    let to = SocketAddr::new(route.to, port);
    let exchange = async {
        match route.transport {
            Transport::Tcp => over_tcp(to, route.from, xid, &message).await,
            Transport::Udp => over_udp(to, route.from, xid, &message, resend).await,
        }
    };
    timeout(patience, exchange).await.unwrap_or(Err(CallError::Timeout(patience)))
}

async fn over_udp(
    to: SocketAddr,
    from: IpAddr,
    xid: u32,
    message: &[u8],
    resend: Resend,
) -> Result<Bytes, CallError> {
    let socket =
        UdpSocket::bind(SocketAddr::new(from, 0)).await.map_err(CallError::NotConnected)?;
    socket.connect(to).await.map_err(CallError::NotConnected)?;
    let mut buffer = vec![0; REPLY_BYTES_MAX];
    let mut wait = RESEND;
    socket.send(message).await?;
    let mut deadline = Instant::now() + wait;
    loop {
        match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Ok(received) => {
                if let Some(results) = results_of(&buffer[..received?], xid) {
                    return results;
                }
            }
            Err(_) => {
                wait *= 2;
                deadline = Instant::now() + wait;
                if resend == Resend::UntilAnswered {
                    socket.send(message).await?;
                }
            }
        }
    }
}

async fn over_tcp(
    to: SocketAddr,
    from: IpAddr,
    xid: u32,
    message: &[u8],
) -> Result<Bytes, CallError> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0)).map_err(CallError::NotConnected)?;
    let mut stream = socket.connect(to).await.map_err(CallError::NotConnected)?;
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

/// Asks the client's port mapper where a program listens: rpcbind v4, which knows IPv6, and
/// portmap v2 for IPv4 (RFC 1833).
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
    let mut arguments = Writer::new();
    let procedure = if route.to.is_ipv4() {
        arguments.put(&Mapping { program, version, protocol: protocol as u32, port: 0 });
        Procedure { program: portmap::PROGRAM, version: 2, number: portmap::v2::GETPORT }
    } else {
        arguments.put(&Binding {
            program,
            version,
            netid: protocol.netid(route.to).into(),
            address: portmap::universal_address(SocketAddr::new(route.to, portmap::PORT)).into(),
            owner: Vec::new(),
        });
        Procedure { program: portmap::PROGRAM, version: 4, number: portmap::v3::GETADDR }
    };
    let (arguments, resend) = (arguments.into_bytes(), Resend::UntilAnswered);
    let results = call(route, portmap::PORT, procedure, &arguments, resend, patience).await?;
    let mut reader = Reader::new(&results);
    let port = if route.to.is_ipv4() {
        reader.u32().ok().and_then(|port| u16::try_from(port).ok())
    } else {
        let address = reader.opaque(portmap::STRING_BYTES_MAX).ok();
        let text = address.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(portmap::parse_universal_address).map(|address| address.port())
    };
    port.filter(|port| *port != 0).ok_or(CallError::NotRegistered(program))
}
