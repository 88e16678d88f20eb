//! The connection that a call came on, as far as it tells a repetition from a new call.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::tcp::OwnedReadHalf;

/// How long the other side of a connection may take to acknowledge what it has: nobody gives one up
/// so soon.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);

/// The connection that a call came on. A datagram has none: its default.
#[derive(Debug, Clone, Default)]
pub struct Link(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// A later connection has a larger number.
    number: u64,
    /// Gone when the connection is closed on our side.
    socket: Weak<OwnedReadHalf>,
    /// Calls that came on it.
    calls: AtomicU64,
    /// Whether it was closed with answers that its client had not acknowledged.
    unacknowledged: AtomicBool,
}

impl Link {
    /// The next connection.
    pub(super) fn new(socket: &Arc<OwnedReadHalf>) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let (socket, calls) = (Arc::downgrade(socket), AtomicU64::new(0));
        Self(Some(Arc::new(Inner { number, socket, calls, unacknowledged: false.into() })))
    }

    /// Counts one more call.
    pub(super) fn called(&self) {
        if let Some(inner) = &self.0 {
            inner.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes what a connection leaves behind that is about to be closed.
    pub(super) fn closes(&self) {
        let Some(inner) = &self.0 else { return };
        let unacknowledged = inner.socket.upgrade().is_some_and(|socket| unacknowledged(&socket));
        inner.unacknowledged.store(unacknowledged, Ordering::Relaxed);
    }

    /// How many calls came on it so far.
    pub(super) fn calls(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.calls.load(Ordering::Relaxed))
    }

    /// A number of its own, which is larger the later the connection was made; 0 for a datagram.
    pub(super) fn number(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.number)
    }

    /// Whether the client has closed it, or it broke: nobody reads an answer there.
    pub(super) fn is_given_up(&self) -> bool {
        let Some(inner) = &self.0 else { return false };
        inner.socket.upgrade().is_none_or(|socket| is_closed(&socket))
    }

    /// Whether the client is known to have an answer that was given so long ago, when `calls` calls
    /// had come. The client of a connection that goes on, and acknowledges what is sent, has it.
    /// That of one that ended has it where it called again, for its last answers may have been
    /// under way; and where it left something unacknowledged nothing is known.
    pub(super) fn has_delivered(&self, calls: u64, ago: Duration) -> bool {
        let Some(inner) = &self.0 else { return false };
        match inner.socket.upgrade() {
            Some(socket) if !is_closed(&socket) => {
                ago < ACKNOWLEDGED_WITHIN || !unacknowledged(&socket)
            }
            Some(socket) if unacknowledged(&socket) => false,
            None if inner.unacknowledged.load(Ordering::Relaxed) => false,
            _ => self.calls() > calls,
        }
    }
}

fn is_closed(socket: &OwnedReadHalf) -> bool {
    polls(socket, PollFlags::RDHUP)
}

/// Whether something has come that is not read yet.
pub(super) fn has_input(socket: &OwnedReadHalf) -> bool {
    polls(socket, PollFlags::IN)
}

/// Whether a socket is in that condition, or ended.
fn polls(socket: &OwnedReadHalf, condition: PollFlags) -> bool {
    let mut polled = [PollFd::new(socket.as_ref(), condition)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let wanted = condition | PollFlags::HUP | PollFlags::ERR;
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(wanted)
}

/// Whether bytes that were written are not acknowledged by the other side (tcp(7), SIOCOUTQ).
fn unacknowledged(socket: &OwnedReadHalf) -> bool {
    #[allow(clippy::cast_possible_truncation, reason = "the kernel takes 32 bits")]
    const OUTQ: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;
    // SAFETY: the call writes one int, and nothing else.
    let bytes = unsafe {
        let getter = rustix::ioctl::Getter::<OUTQ, libc::c_int>::new();
        rustix::ioctl::ioctl(socket.as_ref().as_fd(), getter)
    };
    bytes.is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    const LONG_AGO: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn what_a_client_has_is_seen_of_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let _client = TcpStream::connect(address).await.expect("connected");
        let (reader, writer) = listener.accept().await.expect("accepted").0.into_split();
        let reader = Arc::new(reader);
        let link = Link::new(&reader);
        assert!(link.has_delivered(link.calls(), LONG_AGO) && !link.is_given_up());
        // More than the client's side has room for, which it does not read.
        let bytes = [0; 1 << 16];
        while writer.try_write(&bytes).is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!link.has_delivered(link.calls(), LONG_AGO));
        assert!(link.has_delivered(link.calls(), Duration::ZERO), "it has had no time yet");
        link.closes();
        drop((reader, writer));
        assert!(link.is_given_up());
        link.called();
        assert!(!link.has_delivered(0, LONG_AGO), "it left something unacknowledged");
        // Whoever called again had what was sent before.
        let client = TcpStream::connect(address).await.expect("connected");
        let (reader, writer) = listener.accept().await.expect("accepted").0.into_split();
        let reader = Arc::new(reader);
        let link = Link::new(&reader);
        link.called();
        drop(client);
        while !link.is_given_up() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for closed in [false, true] {
            assert!(link.has_delivered(0, LONG_AGO), "{closed}");
            assert!(!link.has_delivered(1, LONG_AGO), "{closed}");
            link.closes();
        }
        drop((reader, writer));
        assert!(link.has_delivered(0, LONG_AGO) && !link.has_delivered(1, LONG_AGO));
    }
}
