//! What the procedures are given.

use cleat_lock::Access;
use cleat_rpc::xdr::Result;
use cleat_rpc::{Reader, Writer, XdrError};

use super::{CALLER_NAME_BYTES_MAX, NETOBJ_BYTES_MAX};
use crate::version::{Message, Version};

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

impl<'a> Message<'a> for Lock<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            caller_name: reader.opaque(CALLER_NAME_BYTES_MAX)?,
            fh: reader.opaque(version.file_handle_bytes_max())?,
            oh: reader.opaque(NETOBJ_BYTES_MAX)?,
            svid: reader.u32()?,
            offset: version.read_offset(reader)?,
            length: version.read_offset(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.caller_name);
        writer.opaque(self.fh);
        writer.opaque(self.oh);
        writer.u32(self.svid);
        version.write_offset(writer, self.offset);
        version.write_offset(writer, self.length);
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

impl<'a> Message<'a> for TestArgs<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            exclusive: reader.bool()?,
            lock: Lock::read(reader, version)?,
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.cookie);
        writer.bool(self.exclusive);
        self.lock.write(writer, version);
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

impl<'a> Message<'a> for LockArgs<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            block: reader.bool()?,
            exclusive: reader.bool()?,
            lock: Lock::read(reader, version)?,
            reclaim: reader.bool()?,
            state: reader.i32()?,
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.cookie);
        writer.bool(self.block);
        writer.bool(self.exclusive);
        self.lock.write(writer, version);
        writer.bool(self.reclaim);
        writer.i32(self.state);
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

impl<'a> Message<'a> for CancelArgs<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            block: reader.bool()?,
            exclusive: reader.bool()?,
            lock: Lock::read(reader, version)?,
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.cookie);
        writer.bool(self.block);
        writer.bool(self.exclusive);
        self.lock.write(writer, version);
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

impl<'a> Message<'a> for UnlockArgs<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self { cookie: reader.opaque(NETOBJ_BYTES_MAX)?, lock: Lock::read(reader, version)? })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.cookie);
        self.lock.write(writer, version);
    }
}

/// `nlm4_share`, `nlm_share`: a reservation of a file, and who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share<'a> {
    /// The host that asks, as it calls itself.
    pub caller_name: &'a [u8],
    /// The file.
    pub fh: &'a [u8],
    /// The client's handle of the owner: with the client, the owner's whole name.
    pub oh: &'a [u8],
    /// `fsh4_mode`: what nobody else may do.
    pub deny: Access,
    /// `fsh4_access`: what the owner wants to do.
    pub access: Access,
}

impl<'a> Message<'a> for Share<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            caller_name: reader.opaque(CALLER_NAME_BYTES_MAX)?,
            fh: reader.opaque(version.file_handle_bytes_max())?,
            oh: reader.opaque(NETOBJ_BYTES_MAX)?,
            deny: access(reader)?,
            access: access(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer, _version: Version) {
        writer.opaque(self.caller_name);
        writer.opaque(self.fh);
        writer.opaque(self.oh);
        writer.u32(self.deny as u32);
        writer.u32(self.access as u32);
    }
}

fn access(reader: &mut Reader<'_>) -> Result<Access> {
    let value = reader.u32()?;
    let known = Access::ALL.into_iter().find(|access| *access as u32 == value);
    known.ok_or(XdrError::BadValue(value))
}

/// `nlm4_shareargs`, `nlm_shareargs`: what SHARE and UNSHARE are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareArgs<'a> {
    /// Echoed in the result.
    pub cookie: &'a [u8],
    /// The reservation and who wants it.
    pub share: Share<'a>,
    /// Whether the client had it before the server restarted.
    pub reclaim: bool,
}

impl<'a> Message<'a> for ShareArgs<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            share: Share::read(reader, version)?,
            reclaim: reader.bool()?,
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.cookie);
        self.share.write(writer, version);
        writer.bool(self.reclaim);
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

impl<'a> Message<'a> for Notify<'a> {
    fn read(reader: &mut Reader<'a>, _version: Version) -> Result<Self> {
        Ok(Self { name: reader.opaque(CALLER_NAME_BYTES_MAX)?, state: reader.i32()? })
    }

    fn write(&self, writer: &mut Writer, _version: Version) {
        writer.opaque(self.name);
        writer.i32(self.state);
    }
}
