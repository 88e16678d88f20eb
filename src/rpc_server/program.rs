//! What a program served by the listener is, and what it is given of a call.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;

use bytes::Bytes;
use cleat_rpc::{CallHeader, Reader, Reply};

use super::link::Link;
use super::once::{Once, Outcome};

/// How a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Over a TCP connection.
    Tcp,
    /// In a UDP datagram.
    Udp,
}

/// A call to a program, with all that its answer may depend on. Addresses are canonical: an
/// IPv4-mapped IPv6 address has become the IPv4 address it maps.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whom it calls, and as whom.
    pub header: CallHeader,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The address of ours that it came to.
    pub local: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// The connection that it came on.
    pub link: Link,
    /// The XDR of its arguments: a slice of the record, not a copy.
    pub arguments: Bytes,
}

impl Call {
    /// A reader of the arguments.
    #[must_use]
    pub fn arguments(&self) -> Reader<'_> {
        Reader::new(&self.arguments)
    }
}

/// How a program answers.
pub enum Answer {
    /// With this.
    Now(Reply),
    /// With what this comes to. It runs to its end, also where the connection closes first.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Answer {
    /// An answer that is yet to be found.
    pub fn later(future: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }
}

/// What a program's calls may have to wait for. Each sort has room of its own in the listener, so
/// that a disk that hangs keeps no lock from being given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// For the disks that are served.
    Files,
    /// For the lock service.
    Locks,
}

/// A reply of so many bytes is small: only the number of such is bounded.
pub const SMALL_REPLY_BYTES_MAX: usize = 8 << 10;

/// An ONC RPC program.
pub trait Program: Send + Sync {
    /// Its number.
    fn number(&self) -> u32;

    /// Its versions; a gap inside is answered PROG_UNAVAIL by [`Program::call`] itself.
    fn versions(&self) -> RangeInclusive<u32>;

    /// Whether it is served over this transport; where not, it is PROG_UNAVAIL there.
    fn is_served_over(&self, _transport: Transport) -> bool {
        true
    }

    /// What a call may do only once that comes again; `None` where it may run as often as it comes.
    fn once(&self, _call: &Call) -> Option<Once> {
        None
    }

    /// What came of a call that has a [`Once`], by its results.
    fn outcome(&self, _version: u32, _procedure: u32, _results: &Bytes) -> Outcome {
        Outcome::Done
    }

    /// Whether these results of such a call tell what is so now
    /// ([`super::Repeat::Checked`]).
    fn still_so(&self, _call: Call, _results: Bytes) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(std::future::ready(true))
    }

    /// What its calls may have to wait for.
    fn work(&self) -> Work {
        Work::Files
    }

    /// The most bytes that the reply to a call may have, where that can be more than
    /// [`SMALL_REPLY_BYTES_MAX`].
    fn reply_bytes_max(&self, _call: &Call) -> usize {
        SMALL_REPLY_BYTES_MAX
    }

    /// Answers one call. Must not block: work that may, goes into [`Answer::Later`].
    fn call(&self, call: Call) -> Answer;
}
