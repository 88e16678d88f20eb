//! TCP: connections, record marking, and back-pressure.
//!
//! One task reads a connection and one writes it; an answer that is not there at once is awaited
//! in a task of its own. A request holds a permit until its answer is written, so a client that
//! sends without reading is soon no longer read.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use cleat_rpc::Reply;
use cleat_rpc::record::{Assembler, mark};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::dispatch::{Arrival, Dispatch, Dispatched, reply_parts};
use super::program::{Answer, Transport};
use super::{CONNECTION_REQUESTS_MAX, IDLE, RECORD_BYTES_MAX, STALL};

/// How much is read from a socket at a time, in bytes.
const READ_BYTES: usize = 64 << 10;
/// The most slices handed to one write.
const WRITE_SLICES_MAX: usize = 64;

/// What the connections of a listener share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) connections: Arc<Semaphore>,
    pub(super) requests: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The permits that a request in flight holds: its connection's and the listener's.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

struct Outgoing {
    parts: [Bytes; 5],
    _permits: Permits,
}

/// Accepts connections until the listener stops.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&shared.connections).try_acquire_owned() {
                Ok(permit) => {
                    let shared = shared.clone();
                    shared.tasks.clone().spawn(async move {
                        if let Err(error) = connection(stream, shared).await {
                            debug!(%peer, %error, "connection ended");
                        }
                        drop(permit);
                    });
                }
                Err(_) => warn!(%peer, "connection refused: {} are open", super::CONNECTIONS_MAX),
            },
            Err(error) => {
                // Out of descriptors, most likely: what is open goes on, and some of it will end.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let arrival = Arrival { peer, local, transport: Transport::Tcp };
    let (reader, writer) = stream.into_split();
    // As many places as permits: a send to it never waits.
    let (replies, outgoing) = mpsc::channel(CONNECTION_REQUESTS_MAX);
    let broken = CancellationToken::new();
    let writing = shared.tasks.spawn(write_replies(writer, outgoing, broken.clone()));
    let read = read_calls(reader, arrival, &shared, &replies, &broken).await;
    drop(replies);
    let _ = writing.await;
    read
}

async fn read_calls(
    mut reader: OwnedReadHalf,
    arrival: Arrival,
    shared: &Shared,
    replies: &mpsc::Sender<Outgoing>,
    broken: &CancellationToken,
) -> io::Result<()> {
    let in_flight = Arc::new(Semaphore::new(CONNECTION_REQUESTS_MAX));
    let mut assembler = Assembler::new(RECORD_BYTES_MAX);
    let mut stream = BytesMut::new();
    loop {
        while let Some(record) = assembler
            .next(&mut stream)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?
        {
            let permits = tokio::select! {
                () = broken.cancelled() => return Ok(()),
                permits = permits(&in_flight, &shared.requests) => permits,
            };
            answer(&record, arrival, shared, replies, permits);
        }
        stream.reserve(READ_BYTES);
        let read = tokio::select! {
            () = shared.stop.cancelled() => return Ok(()),
            () = broken.cancelled() => return Ok(()),
            read = timeout(IDLE, reader.read_buf(&mut stream)) => read,
        };
        match read {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if in_flight.available_permits() == CONNECTION_REQUESTS_MAX => return Ok(()),
            Err(_) => {}
        }
    }
}

async fn permits(connection: &Arc<Semaphore>, listener: &Arc<Semaphore>) -> Permits {
    let own = Arc::clone(connection).acquire_owned().await;
    let shared = Arc::clone(listener).acquire_owned().await;
    (own.expect("never closed"), shared.expect("never closed"))
}

fn answer(
    record: &Bytes,
    arrival: Arrival,
    shared: &Shared,
    replies: &mpsc::Sender<Outgoing>,
    permits: Permits,
) {
    match shared.dispatch.dispatch(record, arrival) {
        Dispatched::Dropped => {}
        Dispatched::Call(xid, Answer::Now(reply)) => send(replies, xid, reply, permits),
        Dispatched::Call(xid, Answer::Later(future)) => {
            let replies = replies.clone();
            shared.tasks.spawn(async move { send(&replies, xid, future.await, permits) });
        }
    }
}

fn send(replies: &mpsc::Sender<Outgoing>, xid: u32, reply: Reply, permits: Permits) {
    let [header, head, payload, pad] = reply_parts(xid, reply);
    let length = header.len() + head.len() + payload.len() + pad.len();
    let mark = Bytes::copy_from_slice(&mark(length));
    let outgoing = Outgoing { parts: [mark, header, head, payload, pad], _permits: permits };
    // The channel has a place for every permit, so this fails only where the writer has ended,
    // and then nobody is there to be answered.
    let _ = replies.try_send(outgoing);
}

/// Writes answers as they come, several in one system call where they are there together.
async fn write_replies(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<Outgoing>,
    broken: CancellationToken,
) {
    let mut batch = Vec::with_capacity(WRITE_SLICES_MAX / 5);
    while outgoing.recv_many(&mut batch, WRITE_SLICES_MAX / 5).await > 0 {
        let mut parts: VecDeque<Bytes> = batch
            .iter_mut()
            .flat_map(|reply| std::mem::take(&mut reply.parts))
            .filter(|part| !part.is_empty())
            .collect();
        let written = write_all(&mut writer, &mut parts).await;
        batch.clear();
        if let Err(error) = written {
            debug!(%error, "cannot answer");
            broken.cancel();
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn write_all(writer: &mut OwnedWriteHalf, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !parts.is_empty() {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut count = timeout(STALL, writer.write_vectored(&slices)).await??;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = parts.front_mut() {
            if front.len() > count {
                front.advance(count);
                break;
            }
            count -= front.len();
            parts.pop_front();
        }
    }
    Ok(())
}
