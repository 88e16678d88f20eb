//! Which address of ours a datagram came to, and sending from that same one.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The most bytes a datagram can have.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The room for datagrams that are sent, in bytes. The kernel keeps up to 208 KiB of it for each
/// neighbour that does not answer to its address, as much as a socket has by itself.
const SEND_BUFFER_BYTES: usize = 8 << 20;
/// How long a datagram waits for room in the socket; then whoever misses it is to ask again.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// A datagram that was received.
pub(super) struct Datagram {
    /// How many bytes of the buffer it fills.
    pub(super) length: usize,
    /// Who sent it.
    pub(super) peer: SocketAddr,
    /// The address of ours that it was sent to.
    pub(super) local: SocketAddr,
}

/// Has the kernel tell the address that each datagram came to, and gives the socket room for
/// answers to hosts that are gone.
pub(super) fn enable(socket: &UdpSocket) -> io::Result<()> {
    // More than net.core.wmem_max takes CAP_NET_ADMIN; without, it is as much as that permits.
    if setsockopt(&socket.as_fd(), sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_err() {
        setsockopt(&socket.as_fd(), sockopt::SndBuf, &SEND_BUFFER_BYTES)?;
    }
    if socket.local_addr()?.is_ipv4() {
        setsockopt(&socket.as_fd(), sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&socket.as_fd(), sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

/// Receives one datagram, or says that there is none.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let bound = socket.local_addr()?;
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let peer = message.address.as_ref().and_then(socket_address).ok_or(io::ErrorKind::Other)?;
    let mut local = bound.ip();
    for item in message.cmsgs()? {
        match item {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                local = IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                local = IpAddr::from(info.ipi6_addr.s6_addr);
            }
            _ => {}
        }
    }
    Ok(Datagram { length: message.bytes, peer, local: SocketAddr::new(local, bound.port()) })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddrV4::from(*v4).into()),
        (_, Some(v6)) => Some(SocketAddrV6::from(*v6).into()),
        _ => None,
    }
}

/// Sends one datagram from the address `from`, unless that would block.
pub(super) fn send_at_once(
    socket: &UdpSocket,
    data: &[u8],
    to: SocketAddr,
    from: IpAddr,
) -> io::Result<()> {
    socket.try_io(Interest::WRITABLE, || send(socket, data, to, from))
}

/// Sends one datagram from the address `from` once the socket has room for it.
pub(super) async fn send_when_writable(
    socket: &UdpSocket,
    data: &[u8],
    to: SocketAddr,
    from: IpAddr,
) -> io::Result<()> {
    let sent = socket.async_io(Interest::WRITABLE, || send(socket, data, to, from));
    timeout(SEND_PATIENCE, sent).await?
}

/// Sends one datagram from the address `from`, or says that it would block.
fn send(socket: &UdpSocket, data: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
    let address = SockaddrStorage::from(to);
    let slices = [IoSlice::new(data)];
    let fd = socket.as_raw_fd();
    match from {
        IpAddr::V4(ip) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(fd, &slices, &control, MsgFlags::empty(), Some(&address))?;
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                ipi6_ifindex: 0,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(fd, &slices, &control, MsgFlags::empty(), Some(&address))?;
        }
    }
    Ok(())
}
