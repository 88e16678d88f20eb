//! UDP: a datagram is a record, and its answer leaves from the address it came to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cleat_rpc::Reply;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::UDP_REQUESTS_MAX;
use super::dispatch::{Arrival, Dispatch, Dispatched, reply_parts};
use super::packet_info::{self, Datagram};
use super::program::{Answer, Transport};

/// Answers datagrams until the listener stops.
pub(super) async fn serve(
    socket: Arc<UdpSocket>,
    dispatch: Arc<Dispatch>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let in_flight = Arc::new(Semaphore::new(UDP_REQUESTS_MAX));
    let mut buffer = vec![0; packet_info::DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
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
        let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else {
            warn!(peer = %datagram.peer, "datagram dropped: {UDP_REQUESTS_MAX} are in flight");
            continue;
        };
        let record = Bytes::copy_from_slice(&buffer[..datagram.length]);
        let Datagram { peer, local, .. } = datagram;
        let arrival = Arrival { peer, local, transport: Transport::Udp };
        match dispatch.dispatch(&record, arrival) {
            Dispatched::Dropped => {}
            Dispatched::Call(xid, Answer::Now(reply)) => {
                send(&socket, xid, reply, peer, local).await;
            }
            Dispatched::Call(xid, Answer::Later(future)) => {
                let socket = Arc::clone(&socket);
                tasks.spawn(async move {
                    send(&socket, xid, future.await, peer, local).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    socket.async_io(Interest::READABLE, || packet_info::receive(socket, buffer)).await
}

async fn send(socket: &UdpSocket, xid: u32, reply: Reply, to: SocketAddr, from: SocketAddr) {
    let parts = reply_parts(xid, reply).concat();
    if let Err(error) = packet_info::send_when_writable(socket, &parts, to, from.ip()).await {
        debug!(%to, %error, "cannot answer a datagram");
    }
}
