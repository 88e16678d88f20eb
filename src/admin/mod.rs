//! The administrator's socket: who may speak on it, how much, and for how long.
//!
//! It lies in the state directory, and only the user who runs the server, or root, may open it:
//! by its mode, and once more by what the kernel says of the peer. One request for each connection;
//! the answer is made page by page as the peer reads it, so its size binds neither memory nor the
//! thread of the lock core.

mod answer;
mod listing;
mod paths;
mod socket;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::seldom::limited;
pub use answer::Admin;
pub use socket::{Socket, connect};
use wire::{Answer, REQUEST_BYTES_MAX, Request};

/// The most connections at a time; one more is answered with an error.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to arrive.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a peer may take none of its answer.
const STALL: Duration = Duration::from_secs(60);

/// Why an answer ends early.
enum Failure {
    /// What the peer is told.
    Told(String),
    /// The peer takes no answer any more.
    Gone,
}

impl Failure {
    fn told(text: impl Into<String>) -> Self {
        Self::Told(text.into())
    }

    /// The lock service has stopped.
    fn stopping() -> Self {
        Self::told("the server is stopping")
    }
}

/// The writing end of a connection.
struct Out(OwnedWriteHalf);

impl Out {
    /// Sends a page of lines.
    async fn send(&mut self, answers: &[Answer]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for answer in answers {
            serde_json::to_writer(&mut bytes, answer)
                .map_err(|error| Failure::told(error.to_string()))?;
            bytes.push(b'\n');
        }
        match tokio::time::timeout(STALL, self.0.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::Gone),
        }
    }
}

/// Answers on the socket until `stop`.
pub async fn serve(admin: Admin, socket: Socket, stop: CancellationToken) {
    let admin = Arc::new(admin);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(socket.listener()) => accepted,
        };
        let Some((stream, peer)) = accepted else { continue };
        let (admin, stop) = (Arc::clone(&admin), stop.clone());
        let permit = Arc::clone(&connections).try_acquire_owned();
        tokio::spawn(async move {
            let answered = async {
                let (reader, writer) = stream.into_split();
                let mut out = Out(writer);
                let answered = match permit {
                    Ok(_permit) => converse(&admin, reader, &mut out, &peer).await,
                    Err(_) => Err(Failure::told("too many others ask at this moment")),
                };
                match answered {
                    Ok(()) => out.send(&[Answer::End]).await,
                    Err(Failure::Told(text)) => out.send(&[Answer::Error(text)]).await,
                    Err(Failure::Gone) => Ok(()),
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = answered => {}
            }
        });
    }
}

/// The next connection.
async fn accept(listener: &UnixListener) -> Option<(UnixStream, UCred)> {
    let stream = match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => {
            // Out of descriptors, most likely: that passes.
            limited!(warn, %error, "the administrator's socket");
            tokio::time::sleep(Duration::from_secs(1)).await;
            return None;
        }
    };
    let peer = stream.peer_cred().ok()?;
    Some((stream, peer))
}

async fn converse(
    admin: &Admin,
    reader: impl tokio::io::AsyncRead + Unpin,
    out: &mut Out,
    peer: &UCred,
) -> Result<(), Failure> {
    let may_ask = peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw();
    if !may_ask {
        limited!(warn, uid = peer.uid(), "refused on the administrator's socket");
        return Err(Failure::told("only root and the user who runs the server may ask it"));
    }
    let read = tokio::time::timeout(REQUEST_PATIENCE, read_line(reader)).await;
    let line = read.map_err(|_| Failure::told("no request came"))??;
    let request: Request = serde_json::from_slice(&line)
        .map_err(|error| Failure::told(format!("not understood: {error}")))?;
    debug!(uid = peer.uid(), pid = peer.pid(), ?request, "an administrator asks");
    admin.answer(request, out, peer).await
}

async fn read_line(reader: impl tokio::io::AsyncRead + Unpin) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    let read = BufReader::new(reader.take(limit)).read_until(b'\n', &mut line).await;
    match read {
        Ok(_) if line.ends_with(b"\n") => Ok(line),
        Ok(_) if line.len() >= REQUEST_BYTES_MAX => {
            Err(Failure::told(format!("a request is {REQUEST_BYTES_MAX} bytes at most")))
        }
        Ok(_) => Err(Failure::told("a request is one line")),
        Err(_) => Err(Failure::Gone),
    }
}
