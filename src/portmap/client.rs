//! Calls to the rpcbind of this host: over its local socket, where it knows who calls, or over
//! the loopback interface.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::portmap::{self, Binding, v3};
use cleat_rpc::record::{Assembler, RecordError, mark};
use cleat_rpc::{CallHeader, Credential, Reader, Writer, XdrError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where rpcbind listens for callers of its own host.
pub const SOCKET: &str = "/run/rpcbind.sock";
/// The version of rpcbind's protocol that is spoken here.
const VERSION: u32 = 4;
/// The largest answer that is read, in bytes: some thousands of registrations.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// How long a call may take: rpcbind has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why rpcbind did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RpcbindError {
    /// It is not there, or the connection to it failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It gave no answer.
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    /// It refused.
    #[error("{0}")]
    Refused(#[from] ReplyError),
    /// It answered with something else than was asked for.
    #[error("{0}")]
    Garbled(#[from] XdrError),
    /// It sent no record stream.
    #[error("{0}")]
    Record(#[from] RecordError),
}

/// A way to rpcbind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Its local socket.
    Unix(&'static Path),
    /// A TCP address of the loopback interface.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Link {
    /// Asks nothing, to see whether rpcbind answers.
    pub async fn null(&self) -> Result<(), RpcbindError> {
        self.call(0, &Writer::new().into_bytes()).await.map(|_| ())
    }

    /// Adds a registration; false where there is another for the same, or where it is forbidden.
    pub async fn set(&self, binding: &Binding) -> Result<bool, RpcbindError> {
        self.change(v3::SET, binding).await
    }

    /// Removes a registration; false where there is none, or it is somebody else's.
    pub async fn unset(&self, binding: &Binding) -> Result<bool, RpcbindError> {
        self.change(v3::UNSET, binding).await
    }

    /// All registrations.
    pub async fn dump(&self) -> Result<Vec<Binding>, RpcbindError> {
        let results = self.call(v3::DUMP, &Writer::new().into_bytes()).await?;
        let mut reader = Reader::new(&results);
        let mut bindings = Vec::new();
        while reader.bool()? {
            bindings.push(reader.get()?);
        }
        Ok(bindings)
    }

    async fn change(&self, procedure: u32, binding: &Binding) -> Result<bool, RpcbindError> {
        let mut arguments = Writer::new();
        arguments.put(binding);
        let results = self.call(procedure, &arguments.into_bytes()).await?;
        Ok(Reader::new(&results).bool()?)
    }

    async fn call(&self, procedure: u32, arguments: &[u8]) -> Result<Bytes, RpcbindError> {
        let mut message = Writer::new();
        CallHeader {
            // One call for each connection: the number tells it from nothing.
            xid: 1,
            program: portmap::PROGRAM,
            version: VERSION,
            procedure,
            credential: Credential::None,
        }
        .encode(&mut message);
        message.raw(arguments);
        let message = message.into_bytes();
        let exchange = async {
            match self {
                Self::Unix(path) => exchange(UnixStream::connect(path).await?, &message).await,
                Self::Tcp(address) => exchange(TcpStream::connect(address).await?, &message).await,
            }
        };
        timeout(PATIENCE, exchange).await.unwrap_or(Err(RpcbindError::Timeout))
    }
}

/// Sends one call and reads its reply's results.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    message: &[u8],
) -> Result<Bytes, RpcbindError> {
    stream.write_all(&[&mark(message.len())[..], message].concat()).await?;
    let mut assembler = Assembler::new(REPLY_BYTES_MAX);
    let mut buffer = BytesMut::with_capacity(8192);
    loop {
        if let Some(record) = assembler.next(&mut buffer)? {
            let (_, results) = decode_reply(&record).ok_or(ReplyError::Malformed)?;
            return Ok(record.slice_ref(results?.rest()));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
