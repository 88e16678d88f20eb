//! The types that arguments and results share, as XDR (RFC 1813 2.5 and 2.6).

use cleat_rpc::xdr::Result;
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};

use crate::vfs::{Attributes, CreateHow, Kind, SetAttributes, SetTime, Stability, Timestamp, Wcc};

/// NFS3_FHSIZE (RFC 1813 2.4): the most bytes of a handle.
pub const HANDLE_BYTES_MAX: usize = 64;
/// The most bytes of a name that are read at all: one that is longer than a name may be, but
/// not absurd, is told NFS3ERR_NAMETOOLONG and not GARBAGE_ARGS.
pub const NAME_WIRE_BYTES_MAX: usize = 4096;
/// The most bytes of a symbolic link's content that are read at all.
pub const PATH_WIRE_BYTES_MAX: usize = 65536;
/// The bytes of a `fattr3`.
pub const ATTRIBUTES_BYTES: usize = 84;

/// A handle as it came (RFC 1813 2.5, `nfs_fh3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle<'a>(pub &'a [u8]);

impl<'a> Decode<'a> for Handle<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        reader.opaque(HANDLE_BYTES_MAX).map(Self)
    }
}

/// A name in a directory (RFC 1813 2.6, `diropargs3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirOp<'a> {
    /// The directory.
    pub dir: Handle<'a>,
    /// The name, as it came.
    pub name: &'a [u8],
}

impl<'a> Decode<'a> for DirOp<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { dir: reader.get()?, name: reader.opaque(NAME_WIRE_BYTES_MAX)? })
    }
}

impl Timestamp {
    /// The time as NFSv3 can say it: unsigned seconds, so what is before 1970 becomes the start
    /// of 1970, and what is after 2106 the last moment that there is.
    fn on_the_wire(self) -> (u32, u32) {
        match u32::try_from(self.seconds) {
            Ok(seconds) => (seconds, self.nanoseconds),
            Err(_) if self.seconds < 0 => (0, 0),
            Err(_) => (u32::MAX, 999_999_999),
        }
    }
}

impl Encode for Timestamp {
    fn encode(&self, writer: &mut Writer) {
        let (seconds, nanoseconds) = self.on_the_wire();
        writer.u32(seconds);
        writer.u32(nanoseconds);
    }
}

impl<'a> Decode<'a> for Timestamp {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { seconds: reader.u32()?.into(), nanoseconds: reader.u32()? })
    }
}

impl Kind {
    /// `ftype3` (RFC 1813 2.5).
    const fn on_the_wire(self) -> u32 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::Block => 3,
            Self::Character => 4,
            Self::Symlink => 5,
            Self::Socket => 6,
            Self::Fifo => 7,
        }
    }
}

impl Encode for Attributes {
    /// `fattr3` (RFC 1813 2.5), 84 bytes.
    fn encode(&self, writer: &mut Writer) {
        let words = [self.kind.on_the_wire(), self.mode, self.links, self.uid, self.gid];
        words.into_iter().for_each(|word| writer.u32(word));
        writer.u64(self.size);
        writer.u64(self.used);
        writer.u32(self.device.0);
        writer.u32(self.device.1);
        writer.u64(self.fsid);
        writer.u64(self.fileid);
        [self.accessed, self.modified, self.changed].iter().for_each(|time| writer.put(time));
    }
}

impl Encode for Wcc {
    /// `wcc_data` (RFC 1813 2.6).
    fn encode(&self, writer: &mut Writer) {
        writer.bool(self.before.is_some());
        if let Some(before) = &self.before {
            writer.u64(before.size);
            writer.put(&before.modified);
            writer.put(&before.changed);
        }
        writer.option(self.after.as_ref());
    }
}

impl<'a> Decode<'a> for SetTime {
    /// `set_atime`, `set_mtime` (RFC 1813 2.6).
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        match reader.u32()? {
            0 => Ok(Self::Keep),
            1 => Ok(Self::Now),
            2 => reader.get().map(Self::To),
            other => Err(XdrError::BadValue(other)),
        }
    }
}

fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T>,
) -> Result<Option<T>> {
    if reader.bool()? { read(reader).map(Some) } else { Ok(None) }
}

impl<'a> Decode<'a> for SetAttributes {
    /// `sattr3` (RFC 1813 2.6). Of the mode, bits that are no permissions are dropped.
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self {
            mode: optional(reader, Reader::u32)?.map(|mode| mode & 0o7777),
            uid: optional(reader, Reader::u32)?,
            gid: optional(reader, Reader::u32)?,
            size: optional(reader, Reader::u64)?,
            accessed: reader.get()?,
            modified: reader.get()?,
        })
    }
}

impl<'a> Decode<'a> for Stability {
    /// `stable_how` (RFC 1813 3.3.7).
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        match reader.u32()? {
            0 => Ok(Self::Unstable),
            1 => Ok(Self::DataSync),
            2 => Ok(Self::FileSync),
            other => Err(XdrError::BadValue(other)),
        }
    }
}

impl Encode for Stability {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(match self {
            Self::Unstable => 0,
            Self::DataSync => 1,
            Self::FileSync => 2,
        });
    }
}

impl<'a> Decode<'a> for CreateHow {
    /// `createhow3` (RFC 1813 3.3.8).
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        match reader.u32()? {
            0 => reader.get().map(Self::Unchecked),
            1 => reader.get().map(Self::Guarded),
            2 => reader.fixed_array().map(Self::Exclusive),
            other => Err(XdrError::BadValue(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_nfs_cannot_say_becomes_the_nearest_that_it_can() {
        let time = |seconds| Timestamp { seconds, nanoseconds: 5 }.on_the_wire();
        assert_eq!(time(-1), (0, 0));
        assert_eq!(time(i64::MIN), (0, 0));
        assert_eq!(time(0), (0, 5));
        assert_eq!(time(u32::MAX.into()), (u32::MAX, 5));
        assert_eq!(time(1 << 32), (u32::MAX, 999_999_999));
    }

    #[test]
    fn a_handle_of_65_bytes_is_none() {
        let mut writer = Writer::new();
        writer.opaque(&[0; 65]);
        let record = writer.into_bytes();
        let error = Reader::new(&record).get::<Handle<'_>>();
        assert_eq!(error, Err(XdrError::TooLong { max: 64, got: 65 }));
    }
}
