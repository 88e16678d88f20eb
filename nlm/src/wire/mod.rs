//! NLM on the wire: its numbers and its types, for every version (XNFS ch. 10, RFC 1813
//! appendix II).
//!
//! Reading borrows from the record. Cookies, file handles and owner handles are bytes that only
//! their maker understands: they go back exactly as they came, the empty one included.
//!
//! The versions differ in the width of offsets and lengths: [`Message`] reads and writes the form
//! of each. `Encode` and `Decode` are the form of version 4, which can hold what any version says:
//! it is also how a request is kept.

mod args;
mod results;

use cleat_rpc::xdr::Result;
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};

pub use self::args::{CancelArgs, Lock, LockArgs, Notify, Share, ShareArgs, TestArgs, UnlockArgs};
pub use self::results::{Holder, Res, ShareRes, TestReply, TestRes};
use crate::version::{Message, Version};

/// The program number of the lock manager.
pub const PROGRAM: u32 = 100_021;

/// The longest `netobj`, in bytes.
pub const NETOBJ_BYTES_MAX: usize = 1024;

/// The longest `caller_name` (`LM_MAXSTRLEN`), in bytes.
pub const CALLER_NAME_BYTES_MAX: usize = 1024;

/// The longest file handle of NFS version 3 (`NFS3_FHSIZE`), in bytes. The type permits a netobj,
/// but no handle of ours is longer, and what is stored of a waiter is bounded by it.
pub const FILE_HANDLE_BYTES_MAX: usize = 64;

/// `nlm4_stats`: how a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stat {
    /// NLM4_GRANTED: done.
    Granted = 0,
    /// NLM4_DENIED: another owner's lock is in the way.
    Denied = 1,
    /// NLM4_DENIED_NOLOCKS: the server cannot hold one more lock.
    DeniedNolocks = 2,
    /// NLM4_BLOCKED: the request waits; a GRANTED call follows.
    Blocked = 3,
    /// NLM4_DENIED_GRACE_PERIOD: the server restarted, only reclaims are admitted: ask again.
    DeniedGracePeriod = 4,
    /// NLM4_DEADLCK: waiting for this would wait for ever.
    Deadlock = 5,
    /// NLM4_ROFS: a lock for writing on a read-only export.
    ReadOnly = 6,
    /// NLM4_STALE_FH: the handle names no file that this client may lock.
    StaleHandle = 7,
    /// NLM4_FBIG: the range ends past what the server can lock.
    TooBig = 8,
    /// NLM4_FAILED: something else, and asking again will not help.
    Failed = 9,
}

impl Stat {
    const ALL: [Self; 10] = [
        Self::Granted,
        Self::Denied,
        Self::DeniedNolocks,
        Self::Blocked,
        Self::DeniedGracePeriod,
        Self::Deadlock,
        Self::ReadOnly,
        Self::StaleHandle,
        Self::TooBig,
        Self::Failed,
    ];
}

impl Encode for Stat {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(*self as u32);
    }
}

impl<'a> Decode<'a> for Stat {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        let value = reader.u32()?;
        let known = Self::ALL.into_iter().find(|stat| *stat as u32 == value);
        known.ok_or(XdrError::BadValue(value))
    }
}

macro_rules! version_4_by_default {
    ($($message:ident)*) => {$(
        impl Encode for $message<'_> {
            fn encode(&self, writer: &mut Writer) {
                self.write(writer, Version::V4);
            }
        }

        impl<'a> Decode<'a> for $message<'a> {
            fn decode(reader: &mut Reader<'a>) -> Result<Self> {
                Self::read(reader, Version::V4)
            }
        }
    )*};
}

version_4_by_default! {
    Lock TestArgs LockArgs CancelArgs UnlockArgs ShareArgs Notify TestRes Res ShareRes
}
