//! NLM version 4 on the wire: its numbers and its types (XNFS ch. 10, RFC 1813 appendix II).
//!
//! Reading borrows from the record. Cookies, file handles and owner handles are bytes that only
//! their maker understands: they go back exactly as they came, the empty one included.
//!
//! The argument types hold 64-bit ranges and say nothing of a version: `Encode` and `Decode` are
//! the form of version 4. Versions 1 and 3 differ in the width of two fields and read into the
//! same types.

use cleat_rpc::xdr::Result;
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};

/// The program number of the lock manager.
pub const PROGRAM: u32 = 100_021;

/// The version for NFS version 3: 64-bit ranges.
pub const VERSION_4: u32 = 4;

/// The longest `netobj`, in bytes.
pub const NETOBJ_BYTES_MAX: usize = 1024;

/// The longest `caller_name` (`LM_MAXSTRLEN`), in bytes.
pub const CALLER_NAME_BYTES_MAX: usize = 1024;

/// The longest file handle, in bytes: `NFS3_FHSIZE`. The type permits a netobj, but no handle of
/// ours is longer, and what is stored of a waiter is bounded by it.
pub const FILE_HANDLE_BYTES_MAX: usize = 64;

/// The procedures of version 4 (XNFS ch. 10).
pub mod procedure {
    /// NLM_NULL: does nothing.
    pub const NULL: u32 = 0;
    /// NLM_TEST: would this lock be granted?
    pub const TEST: u32 = 1;
    /// NLM_LOCK: asks for a lock.
    pub const LOCK: u32 = 2;
    /// NLM_CANCEL: a blocked request is no longer wanted.
    pub const CANCEL: u32 = 3;
    /// NLM_UNLOCK: releases a range.
    pub const UNLOCK: u32 = 4;
    /// NLM_GRANTED: the server calls the client: a blocked request has been granted.
    pub const GRANTED: u32 = 5;
    /// NLM_FREE_ALL: a client asks to release everything it holds.
    pub const FREE_ALL: u32 = 23;
}

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

/// `nlm4_lock`: a range of a file, and who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock<'a> {
    /// The host that asks, as it calls itself.
    pub caller_name: &'a [u8],
    /// The file.
    pub fh: &'a [u8],
    /// The client's handle of the owner: opaque, echoed.
    pub oh: &'a [u8],
    /// The client's number for the owner, a process as a rule. Signed in versions 1 and 3: the
    /// bits are kept.
    pub svid: u32,
    /// The first byte of the range.
    pub offset: u64,
    /// How many bytes; 0 reaches to the end of the file, however long it becomes.
    pub length: u64,
}

impl Encode for Lock<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.caller_name);
        writer.opaque(self.fh);
        writer.opaque(self.oh);
        writer.u32(self.svid);
        writer.u64(self.offset);
        writer.u64(self.length);
    }
}

impl<'a> Decode<'a> for Lock<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self {
            caller_name: reader.opaque(CALLER_NAME_BYTES_MAX)?,
            fh: reader.opaque(FILE_HANDLE_BYTES_MAX)?,
            oh: reader.opaque(NETOBJ_BYTES_MAX)?,
            svid: reader.u32()?,
            offset: reader.u64()?,
            length: reader.u64()?,
        })
    }
}

/// `nlm4_testargs`: what TEST and GRANTED are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestArgs<'a> {
    /// Echoed in the result.
    pub cookie: &'a [u8],
    /// For writing, against everybody.
    pub exclusive: bool,
    /// The range and who wants it.
    pub lock: Lock<'a>,
}

impl Encode for TestArgs<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.cookie);
        writer.bool(self.exclusive);
        writer.put(&self.lock);
    }
}

impl<'a> Decode<'a> for TestArgs<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            exclusive: reader.bool()?,
            lock: reader.get()?,
        })
    }
}

/// `nlm4_lockargs`: what LOCK is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockArgs<'a> {
    /// Echoed in the result.
    pub cookie: &'a [u8],
    /// Whether to wait where the lock is not free.
    pub block: bool,
    /// For writing, against everybody.
    pub exclusive: bool,
    /// The range and who wants it.
    pub lock: Lock<'a>,
    /// Whether the client held this lock before the server restarted.
    pub reclaim: bool,
    /// The NSM state of the client: how often it has started.
    pub state: i32,
}

impl Encode for LockArgs<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.cookie);
        writer.bool(self.block);
        writer.bool(self.exclusive);
        writer.put(&self.lock);
        writer.bool(self.reclaim);
        writer.i32(self.state);
    }
}

impl<'a> Decode<'a> for LockArgs<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            block: reader.bool()?,
            exclusive: reader.bool()?,
            lock: reader.get()?,
            reclaim: reader.bool()?,
            state: reader.i32()?,
        })
    }
}

/// `nlm4_cancargs`: what CANCEL is given: the LOCK that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelArgs<'a> {
    /// Echoed in the result.
    pub cookie: &'a [u8],
    /// As in the LOCK.
    pub block: bool,
    /// As in the LOCK.
    pub exclusive: bool,
    /// As in the LOCK.
    pub lock: Lock<'a>,
}

impl Encode for CancelArgs<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.cookie);
        writer.bool(self.block);
        writer.bool(self.exclusive);
        writer.put(&self.lock);
    }
}

impl<'a> Decode<'a> for CancelArgs<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            block: reader.bool()?,
            exclusive: reader.bool()?,
            lock: reader.get()?,
        })
    }
}

/// `nlm4_unlockargs`: what UNLOCK is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlockArgs<'a> {
    /// Echoed in the result.
    pub cookie: &'a [u8],
    /// The range and whose it is.
    pub lock: Lock<'a>,
}

impl Encode for UnlockArgs<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.cookie);
        writer.put(&self.lock);
    }
}

impl<'a> Decode<'a> for UnlockArgs<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { cookie: reader.opaque(NETOBJ_BYTES_MAX)?, lock: reader.get()? })
    }
}

/// `nlm4_holder`: whose lock is in the way of a TEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    /// For writing.
    pub exclusive: bool,
    /// The holder's number at its client; 0 where the holder has none.
    pub svid: u32,
    /// The holder's handle at its client; empty where the holder has none.
    pub oh: &'a [u8],
    /// The first byte it holds.
    pub offset: u64,
    /// How many bytes; 0 reaches to the end of the file.
    pub length: u64,
}

impl Holder<'static> {
    /// A holder of whom nothing is known.
    pub const UNKNOWN: Self = Self { exclusive: true, svid: 0, oh: &[], offset: 0, length: 0 };
}

impl Encode for Holder<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.bool(self.exclusive);
        writer.u32(self.svid);
        writer.opaque(self.oh);
        writer.u64(self.offset);
        writer.u64(self.length);
    }
}

impl<'a> Decode<'a> for Holder<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self {
            exclusive: reader.bool()?,
            svid: reader.u32()?,
            oh: reader.opaque(NETOBJ_BYTES_MAX)?,
            offset: reader.u64()?,
            length: reader.u64()?,
        })
    }
}

/// `nlm4_testrply`: what TEST found. A holder travels with NLM4_DENIED and with nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestReply<'a> {
    /// NLM4_DENIED: this one holds it.
    Denied(Holder<'a>),
    /// Any other status. ([`Stat::Denied`] here is sent with [`Holder::UNKNOWN`].)
    Stat(Stat),
}

/// `nlm4_testres`: the result of TEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestRes<'a> {
    /// The cookie of the arguments.
    pub cookie: &'a [u8],
    /// What was found.
    pub reply: TestReply<'a>,
}

impl Encode for TestRes<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.cookie);
        let holder = match &self.reply {
            TestReply::Denied(holder) => holder,
            TestReply::Stat(Stat::Denied) => &Holder::UNKNOWN,
            TestReply::Stat(stat) => return writer.put(stat),
        };
        writer.put(&Stat::Denied);
        writer.put(holder);
    }
}

impl<'a> Decode<'a> for TestRes<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        let cookie = reader.opaque(NETOBJ_BYTES_MAX)?;
        let reply = match reader.get()? {
            Stat::Denied => TestReply::Denied(reader.get()?),
            stat => TestReply::Stat(stat),
        };
        Ok(Self { cookie, reply })
    }
}

/// `nlm4_res`: the result of LOCK, CANCEL, UNLOCK and GRANTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Res<'a> {
    /// The cookie of the arguments.
    pub cookie: &'a [u8],
    /// How it ended.
    pub stat: Stat,
}

impl Encode for Res<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.cookie);
        writer.put(&self.stat);
    }
}

impl<'a> Decode<'a> for Res<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { cookie: reader.opaque(NETOBJ_BYTES_MAX)?, stat: reader.get()? })
    }
}

/// `nlm4_notify`: what FREE_ALL is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify<'a> {
    /// The host whose locks go.
    pub name: &'a [u8],
    /// Not used: clients send anything here.
    pub state: i32,
}

impl Encode for Notify<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.name);
        writer.i32(self.state);
    }
}

impl<'a> Decode<'a> for Notify<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { name: reader.opaque(CALLER_NAME_BYTES_MAX)?, state: reader.i32()? })
    }
}
