//! TCP: connections, record marking, and back-pressure.
//!
//! One task reads a connection and one writes it; an answer that is not there at once is awaited
//! in a task of its own. What a request takes is taken before it runs, and always in this order, so
//! that no two wait for each other: the room for its record, if that is large, its place among
//! those of its connection, the room for its reply, if that may be large, and its turn to run. The
//! room for the record and the turn are given back when its answer is there, the rest when that is
//! sent. So a client that sends without reading is soon no longer read, and holds up
//! nobody else.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use cleat_rpc::Reply;
use cleat_rpc::record::{Assembler, mark};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connections::Place;
use super::dispatch::{Arrival, Found, reply_parts};
use super::link::Link;
use super::program::{Answer, SMALL_REPLY_BYTES_MAX, Transport};
use super::share::{Host, Of, Part};
use super::{CONNECTION_REQUESTS_MAX, RECORD_BYTES_MAX, REPLY_BYTES_PER_S_MIN, Shared};
use crate::seldom::limited;

/// How much is read from a socket at a time, in bytes; a larger record needs room.
const READ_BYTES: usize = 64 << 10;
/// The most slices handed to one write.
const WRITE_SLICES_MAX: usize = 64;

/// What a request holds until its reply is sent: its place, and the room for a large reply.
struct Held {
    _place: OwnedSemaphorePermit,
    room: Option<Part>,
}

struct Outgoing {
    parts: [Bytes; 5],
    _held: Held,
}

/// Accepts connections until the listener stops.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let stranger = shared.is_stranger(peer);
                let place = match shared.connections.admit(peer, stranger) {
                    Ok(place) => place,
                    Err(full) => {
                        if let Some(refused) = shared.refused.happens() {
                            warn!(%peer, refused, "connection refused: {}", full.in_words());
                        }
                        continue;
                    }
                };
                let host = shared.hosts.host(peer.ip(), stranger);
                let shared = shared.clone();
                shared.tasks.clone().spawn(async move {
                    if let Err(error) = connection(stream, host, place, shared).await {
                        debug!(%peer, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: what is open goes on, and some of it will end.
                limited!(warn, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    host: Arc<Host>,
    place: Place,
    shared: Shared,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let (reader, writer) = stream.into_split();
    let reader = Arc::new(reader);
    place.reads_from(&reader);
    let link = Link::new(&reader);
    let arrival = Arrival { peer, local, transport: Transport::Tcp, link: link.clone() };
    // As many as there are places: a send to it never waits.
    let (replies, outgoing) = mpsc::channel(CONNECTION_REQUESTS_MAX);
    let broken = shared.stop.child_token();
    let (stall, sent) = (shared.stall, place.activity());
    let writing = shared.tasks.spawn(write_replies(writer, outgoing, broken.clone(), stall, sent));
    let evicted = place.evicted.clone();
    let calls = Calls { arrival, shared, host, place, replies };
    let read = tokio::select! {
        () = broken.cancelled() => Ok(()),
        () = evicted.cancelled() => {
            debug!(%peer, "an idle connection makes room for another");
            Ok(())
        }
        read = calls.read(&reader) => read,
    };
    drop(calls);
    let _ = writing.await;
    link.closes();
    read
}

/// The calls of one connection.
struct Calls {
    arrival: Arrival,
    shared: Shared,
    host: Arc<Host>,
    place: Place,
    replies: mpsc::Sender<Outgoing>,
}

impl Calls {
    /// Reads calls and begins to answer them, until the client hangs up or is silent for long.
    async fn read(&self, reader: &OwnedReadHalf) -> io::Result<()> {
        let mut assembler = Assembler::new(RECORD_BYTES_MAX);
        let mut stream = BytesMut::new();
        while let Some((record, room)) = self.record(reader, &mut assembler, &mut stream).await? {
            self.begin(&record, room).await;
        }
        Ok(())
    }

    /// The next whole record, and the room that it takes.
    async fn record(
        &self,
        reader: &OwnedReadHalf,
        assembler: &mut Assembler,
        stream: &mut BytesMut,
    ) -> io::Result<Option<(Bytes, Option<Part>)>> {
        let mut room: Option<Part> = None;
        let mut deadline = None;
        loop {
            let record = assembler.next(stream);
            if let Some(record) =
                record.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?
            {
                room.iter_mut().for_each(|room| room.shrink(record.len()));
                return Ok(Some((record, room)));
            }
            let begun = !stream.is_empty() || assembler.promised(stream) > 0;
            if assembler.promised(stream) > READ_BYTES && room.is_none() {
                room = Some(self.host.take(Of::RecordBytes, RECORD_BYTES_MAX).await);
                // Only the client's own time counts.
                deadline = None;
            }
            let deadline = match begun {
                true => *deadline.get_or_insert_with(|| Instant::now() + self.shared.stall),
                false => Instant::now() + self.shared.connections.limits().idle,
            };
            if !begun {
                self.place.waits();
            }
            stream.reserve(READ_BYTES);
            match timeout_at(deadline, receive(reader, stream)).await {
                Ok(read) => {
                    if read? == 0 || !self.place.reads() {
                        return Ok(None);
                    }
                }
                Err(_) if begun => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) if self.place.rests() => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// Begins to answer a call once there is room for that.
    async fn begin(&self, record: &Bytes, record_room: Option<Part>) {
        let place = Arc::clone(self.place.requests()).acquire_owned().await.expect("never closed");
        let mut held = Held { _place: place, room: None };
        let (call, program) = match self.shared.dispatch.find(record, &self.arrival) {
            Found::Nothing => return,
            Found::Refused { xid, fault } => return send(&self.replies, xid, Err(fault), held),
            Found::Call { call, program } => (call, program),
        };
        let xid = call.header.xid;
        let reply_bytes_max = program.reply_bytes_max(&call);
        if reply_bytes_max > SMALL_REPLY_BYTES_MAX {
            held.room = Some(self.host.take(Of::ReplyBytes, reply_bytes_max).await);
        }
        let turn = self.host.take(Of::requests(program.work(), Transport::Tcp), 1).await;
        match self.shared.dispatch.run(call, program) {
            None => {}
            Some(Answer::Now(reply)) => send(&self.replies, xid, reply, held),
            Some(Answer::Later(future)) => {
                let replies = self.replies.clone();
                self.shared.tasks.spawn(async move {
                    let reply = future.await;
                    drop((turn, record_room));
                    send(&replies, xid, reply, held);
                });
            }
        }
    }
}

/// Reads what there is, once there is something. Returns how much; 0 at the end.
async fn receive(reader: &OwnedReadHalf, stream: &mut BytesMut) -> io::Result<usize> {
    loop {
        reader.readable().await?;
        match reader.try_read_buf(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

fn send(replies: &mpsc::Sender<Outgoing>, xid: u32, reply: Reply, mut held: Held) {
    let [header, head, payload, pad] = reply_parts(xid, reply);
    let length = header.len() + head.len() + payload.len() + pad.len();
    held.room.iter_mut().for_each(|room| room.shrink(length));
    let mark = Bytes::copy_from_slice(&mark(length));
    let outgoing = Outgoing { parts: [mark, header, head, payload, pad], _held: held };
    // The channel has room for every place, so this fails only where the writer has ended, and
    // then nobody is there to be answered.
    let _ = replies.try_send(outgoing);
}

/// Writes answers as they come, several in one system call where they are there together.
async fn write_replies(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<Outgoing>,
    broken: CancellationToken,
    stall: Duration,
    sent: impl Fn() + Send,
) {
    let mut batch = Vec::with_capacity(WRITE_SLICES_MAX / 5);
    while outgoing.recv_many(&mut batch, WRITE_SLICES_MAX / 5).await > 0 {
        let mut parts: VecDeque<Bytes> = batch
            .iter_mut()
            .flat_map(|reply| std::mem::take(&mut reply.parts))
            .filter(|part| !part.is_empty())
            .collect();
        let patience = stall + slow_line(parts.iter().map(Bytes::len).sum());
        let written = write_all(&mut writer, &mut parts, patience).await;
        sent();
        batch.clear();
        if let Err(error) = written {
            debug!(%error, "cannot answer");
            broken.cancel();
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// How much longer so many bytes may take than a few.
fn slow_line(bytes: usize) -> Duration {
    Duration::from_secs(u64::try_from(bytes / REPLY_BYTES_PER_S_MIN).unwrap_or(u64::MAX))
}

/// Writes all of it before `patience` is over: who takes a byte now and then takes too long.
async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    parts: &mut VecDeque<Bytes>,
    patience: Duration,
) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while !parts.is_empty() {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut count = timeout_at(deadline, writer.write_vectored(&slices)).await??;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn a_large_reply_may_take_as_long_as_a_slow_line_needs() {
        assert_eq!(slow_line(100), Duration::ZERO);
        assert_eq!(slow_line(1 << 20), Duration::from_secs(64));
    }

    #[tokio::test]
    async fn a_client_that_takes_a_byte_now_and_then_is_not_waited_for_for_ever() {
        let (mut client, mut server) = tokio::io::duplex(1);
        let slow = tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut parts = VecDeque::from([Bytes::from_static(&[0; 4000])]);
        let written = write_all(&mut server, &mut parts, Duration::from_millis(200)).await;
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(parts[0].len() < 4000, "it took some");
        slow.abort();
    }
}
