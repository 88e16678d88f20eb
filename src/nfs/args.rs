//! The arguments of each procedure (RFC 1813 3.3), borrowed from the record.

use cleat_rpc::xdr::Result;
use cleat_rpc::{Decode, Reader, XdrError};

use super::wire::{DirOp, Handle, PATH_WIRE_BYTES_MAX};
use crate::vfs::{CreateHow, Node, SetAttributes, Stability, Timestamp};

/// SETATTR3args (RFC 1813 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetAttr<'a> {
    pub file: Handle<'a>,
    pub set: SetAttributes,
    pub guard: Option<Timestamp>,
}

impl<'a> Decode<'a> for SetAttr<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { file: reader.get()?, set: reader.get()?, guard: reader.option()? })
    }
}

/// ACCESS3args (RFC 1813 3.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access<'a> {
    pub file: Handle<'a>,
    pub wanted: u32,
}

impl<'a> Decode<'a> for Access<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { file: reader.get()?, wanted: reader.u32()? })
    }
}

/// READ3args and COMMIT3args (RFC 1813 3.3.6 and 3.3.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<'a> {
    pub file: Handle<'a>,
    pub offset: u64,
    pub count: u32,
}

impl<'a> Decode<'a> for Range<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { file: reader.get()?, offset: reader.u64()?, count: reader.u32()? })
    }
}

/// WRITE3args (RFC 1813 3.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    pub range: Range<'a>,
    pub stability: Stability,
    pub data: &'a [u8],
}

impl<'a> Decode<'a> for Write<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        // The record's own cap bounds the data, which is not copied.
        let max = u32::MAX as usize;
        Ok(Self { range: reader.get()?, stability: reader.get()?, data: reader.opaque(max)? })
    }
}

/// CREATE3args (RFC 1813 3.3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    pub at: DirOp<'a>,
    pub how: CreateHow,
}

impl<'a> Decode<'a> for Create<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { at: reader.get()?, how: reader.get()? })
    }
}

/// MKDIR3args (RFC 1813 3.3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MakeDir<'a> {
    pub at: DirOp<'a>,
    pub set: SetAttributes,
}

impl<'a> Decode<'a> for MakeDir<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { at: reader.get()?, set: reader.get()? })
    }
}

/// SYMLINK3args (RFC 1813 3.3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symlink<'a> {
    pub at: DirOp<'a>,
    pub set: SetAttributes,
    pub target: &'a [u8],
}

impl<'a> Decode<'a> for Symlink<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        let (at, set) = (reader.get()?, reader.get()?);
        Ok(Self { at, set, target: reader.opaque(PATH_WIRE_BYTES_MAX)? })
    }
}

/// MKNOD3args (RFC 1813 3.3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MakeNode<'a> {
    pub at: DirOp<'a>,
    /// `None` for a regular file, a directory and a symbolic link, which have procedures of
    /// their own and are no arguments of this one.
    pub what: Option<(Node, SetAttributes)>,
}

impl<'a> Decode<'a> for MakeNode<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        let at = reader.get()?;
        let what = match reader.u32()? {
            1 | 2 | 5 => None,
            kind @ (3 | 4) => {
                let (set, major, minor) = (reader.get()?, reader.u32()?, reader.u32()?);
                let node = if kind == 3 { Node::Block } else { Node::Character };
                Some((node(major, minor), set))
            }
            6 => Some((Node::Socket, reader.get()?)),
            7 => Some((Node::Fifo, reader.get()?)),
            other => return Err(XdrError::BadValue(other)),
        };
        Ok(Self { at, what })
    }
}

/// RENAME3args (RFC 1813 3.3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename<'a> {
    pub from: DirOp<'a>,
    pub to: DirOp<'a>,
}

impl<'a> Decode<'a> for Rename<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { from: reader.get()?, to: reader.get()? })
    }
}

/// LINK3args (RFC 1813 3.3.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    pub file: Handle<'a>,
    pub to: DirOp<'a>,
}

impl<'a> Decode<'a> for Link<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { file: reader.get()?, to: reader.get()? })
    }
}

/// Where a listing goes on: what READDIR3args and READDIRPLUS3args have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    pub dir: Handle<'a>,
    pub cookie: u64,
    pub verifier: [u8; 8],
}

impl<'a> Decode<'a> for Position<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        let (dir, cookie) = (reader.get()?, reader.u64()?);
        Ok(Self { dir, cookie, verifier: reader.fixed_array()? })
    }
}

/// READDIR3args (RFC 1813 3.3.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadDir<'a> {
    pub from: Position<'a>,
    pub bytes_max: u32,
}

impl<'a> Decode<'a> for ReadDir<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        Ok(Self { from: reader.get()?, bytes_max: reader.u32()? })
    }
}

/// READDIRPLUS3args (RFC 1813 3.3.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadDirPlus<'a> {
    pub from: Position<'a>,
    /// `dircount`: the most bytes of names, cookies and file numbers.
    pub names_bytes_max: u32,
    /// `maxcount`: the most bytes of everything.
    pub bytes_max: u32,
}

impl<'a> Decode<'a> for ReadDirPlus<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self> {
        let (from, names_bytes_max) = (reader.get()?, reader.u32()?);
        Ok(Self { from, names_bytes_max, bytes_max: reader.u32()? })
    }
}
