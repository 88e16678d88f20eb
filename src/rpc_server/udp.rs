//! UDP: a datagram is a record, and its answer leaves from the address it came to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use cleat_rpc::Reply;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use super::dispatch::{Arrival, Found, reply_parts};
use super::link::Link;
use super::packet_info::{self, Datagram};
use super::program::{Answer, Transport};
use super::share::Of;
use super::{Shared, UDP_REQUESTS_MAX};

/// Answers datagrams until the listener stops.
pub(super) async fn serve(socket: Arc<UdpSocket>, shared: Shared) {
    let mut buffer = vec![0; packet_info::DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = shared.stop.cancelled() => return,
            received = receive(&socket, &mut buffer) => received,
        };
        let datagram = match received {
            Ok(datagram) => datagram,
            Err(error) => {
                // An ICMP error for an answer sent earlier comes up here too.
                debug!(%error, "cannot receive a datagram");
                continue;
            }
        };
        let Datagram { length, peer, local } = datagram;
        let record = Bytes::copy_from_slice(&buffer[..length]);
        let arrival = Arrival { peer, local, transport: Transport::Udp, link: Link::default() };
        answer(&socket, &record, &arrival, &shared);
    }
}

/// Begins to answer. Nothing is waited for here: where the answer is not there at once, or the
/// socket is full, because a neighbour on the network does not answer say, others go on.
fn answer(socket: &Arc<UdpSocket>, record: &Bytes, arrival: &Arrival, shared: &Shared) {
    let (xid, answer, part) = match shared.dispatch.find(record, arrival) {
        Found::Nothing => return,
        Found::Refused { xid, fault } => (xid, Answer::Now(Err(fault)), None),
        Found::Call { call, program } => {
            let of = Of::requests(program.work(), Transport::Udp);
            let host = shared.hosts.host(arrival.peer.ip(), shared.is_stranger(arrival.peer));
            let Some(part) = host.try_take(of) else {
                if let Some(dropped) = shared.refused.happens() {
                    let peer = arrival.peer;
                    warn!(%peer, dropped, "datagram dropped: {} of its host are in flight, or \
                        {UDP_REQUESTS_MAX} in all", of.share());
                }
                return;
            };
            let xid = call.header.xid;
            let Some(answer) = shared.dispatch.run(call, program) else { return };
            (xid, answer, Some(part))
        }
    };
    let (socket, to, from) = (Arc::clone(socket), arrival.peer, arrival.local.ip());
    match answer {
        Answer::Now(reply) => {
            let message = message(xid, reply);
            match packet_info::send_at_once(&socket, &message, to, from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What is no call of ours has no place to wait in.
                    let Some(part) = part else { return };
                    shared.tasks.spawn(async move {
                        send(&socket, &message, to, from).await;
                        drop(part);
                    });
                }
                Err(error) => debug!(%to, %error, "cannot answer a datagram"),
                Ok(()) => {}
            }
        }
        Answer::Later(future) => {
            shared.tasks.spawn(async move {
                send(&socket, &message(xid, future.await), to, from).await;
                drop(part);
            });
        }
    }
}

async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    socket.async_io(Interest::READABLE, || packet_info::receive(socket, buffer)).await
}

fn message(xid: u32, reply: Reply) -> Vec<u8> {
    reply_parts(xid, reply).concat()
}

async fn send(socket: &UdpSocket, message: &[u8], to: SocketAddr, from: IpAddr) {
    if let Err(error) = packet_info::send_when_writable(socket, message, to, from).await {
        debug!(%to, %error, "cannot answer a datagram");
    }
}
