//! Datagrams of our own from the sockets that the listener answers on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::packet_info;

/// The listener's UDP sockets, to send calls from: some clients take a result only from the very
/// address and port that they sent their request to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    sockets: Arc<[Arc<UdpSocket>]>,
}

impl Outbox {
    pub(super) fn new(sockets: Vec<Arc<UdpSocket>>) -> Self {
        Self { sockets: sockets.into() }
    }

    /// Sends one datagram from an address of ours at which the listener takes datagrams; another
    /// is an error.
    pub async fn send(&self, data: &[u8], to: SocketAddr, from: SocketAddr) -> io::Result<()> {
        let serves = |bound: SocketAddr| {
            let any = bound.ip().is_unspecified() && bound.is_ipv4() == from.is_ipv4();
            bound.port() == from.port() && (any || bound.ip() == from.ip())
        };
        let socket = self.sockets.iter().find(|socket| socket.local_addr().is_ok_and(serves));
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        packet_info::send_when_writable(socket, data, to, from.ip()).await
    }
}
