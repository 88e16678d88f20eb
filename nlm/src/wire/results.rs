//! What the procedures answer, and what the messages NLM_*_RES carry.

use cleat_rpc::xdr::Result;
use cleat_rpc::{Reader, Writer};

use super::{NETOBJ_BYTES_MAX, Stat};
use crate::version::{Message, Version};

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

impl<'a> Message<'a> for Holder<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        Ok(Self {
            exclusive: reader.bool()?,
            svid: reader.u32()?,
            oh: reader.opaque(NETOBJ_BYTES_MAX)?,
            offset: version.read_offset(reader)?,
            length: version.read_offset(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.bool(self.exclusive);
        writer.u32(self.svid);
        writer.opaque(self.oh);
        version.write_offset(writer, self.offset);
        version.write_offset(writer, self.length);
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

impl<'a> Message<'a> for TestRes<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self> {
        let cookie = reader.opaque(NETOBJ_BYTES_MAX)?;
        let reply = match reader.get()? {
            Stat::Denied => TestReply::Denied(Holder::read(reader, version)?),
            stat => TestReply::Stat(stat),
        };
        Ok(Self { cookie, reply })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.opaque(self.cookie);
        let holder = match &self.reply {
            TestReply::Denied(holder) => holder,
            TestReply::Stat(Stat::Denied) => &Holder::UNKNOWN,
            TestReply::Stat(stat) => return writer.put(stat),
        };
        writer.put(&Stat::Denied);
        holder.write(writer, version);
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

impl<'a> Message<'a> for Res<'a> {
    fn read(reader: &mut Reader<'a>, _version: Version) -> Result<Self> {
        Ok(Self { cookie: reader.opaque(NETOBJ_BYTES_MAX)?, stat: reader.get()? })
    }

    fn write(&self, writer: &mut Writer, _version: Version) {
        writer.opaque(self.cookie);
        writer.put(&self.stat);
    }
}

/// `nlm4_shareres`, `nlm_shareres`: the result of SHARE and UNSHARE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareRes<'a> {
    /// The cookie of the arguments.
    pub cookie: &'a [u8],
    /// How it ended.
    pub stat: Stat,
    /// Not used by any server: 0.
    pub sequence: i32,
}

impl<'a> Message<'a> for ShareRes<'a> {
    fn read(reader: &mut Reader<'a>, _version: Version) -> Result<Self> {
        Ok(Self {
            cookie: reader.opaque(NETOBJ_BYTES_MAX)?,
            stat: reader.get()?,
            sequence: reader.i32()?,
        })
    }

    fn write(&self, writer: &mut Writer, _version: Version) {
        writer.opaque(self.cookie);
        writer.put(&self.stat);
        writer.i32(self.sequence);
    }
}
