//! The versions of NLM: what tells them apart.

use cleat_rpc::xdr::Result;
use cleat_rpc::{Reader, Writer};

use crate::wire::{FILE_HANDLE_BYTES_MAX, NETOBJ_BYTES_MAX, Stat};

/// A version of NLM. Version 2 never was; version 3 is version 1 with four more procedures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// For NFS version 2: 32-bit ranges (XNFS ch. 10).
    V1 = 1,
    /// Version 1 with NLM_SHARE, NLM_UNSHARE, NLM_NM_LOCK and NLM_FREE_ALL (XNFS ch. 10).
    V3 = 3,
    /// For NFS version 3: 64-bit ranges and more statuses (XNFS ch. 14, RFC 1813 appendix II).
    V4 = 4,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V1, Self::V3, Self::V4];

    /// The version of this number.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.number() == number)
    }

    /// Its number in a call.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The last byte that its clients can name: their file offsets are signed.
    #[must_use]
    pub const fn last_byte(self) -> u64 {
        match self {
            Self::V1 | Self::V3 => i32::MAX as u64,
            Self::V4 => i64::MAX as u64,
        }
    }

    /// The longest file handle that is read, in bytes. Version 4 carries handles of NFS version
    /// 3; the others permit any netobj, and one that is not ours is stale.
    #[must_use]
    pub const fn file_handle_bytes_max(self) -> usize {
        match self {
            Self::V1 | Self::V3 => NETOBJ_BYTES_MAX,
            Self::V4 => FILE_HANDLE_BYTES_MAX,
        }
    }

    /// The status on the wire. Versions 1 and 3 end with the grace period; what they lack becomes
    /// what Linux's lockd makes of it: a deadlock is a denial, and any other reason "no locks",
    /// which no client takes for "ask again".
    #[must_use]
    pub const fn stat(self, stat: Stat) -> Stat {
        match (self, stat) {
            (Self::V4, stat) => stat,
            (_, Stat::Deadlock) => Stat::Denied,
            (_, Stat::ReadOnly | Stat::StaleHandle | Stat::TooBig | Stat::Failed) => {
                Stat::DeniedNolocks
            }
            (_, stat) => stat,
        }
    }

    /// Reads an offset or a length.
    pub(crate) fn read_offset(self, reader: &mut Reader<'_>) -> Result<u64> {
        match self {
            Self::V1 | Self::V3 => reader.u32().map(u64::from),
            Self::V4 => reader.u64(),
        }
    }

    /// Writes an offset or a length. Nothing wider than the field is written: what comes here was
    /// read in the same version, or reaches no further than [`Version::last_byte`].
    pub(crate) fn write_offset(self, writer: &mut Writer, offset: u64) {
        match self {
            Self::V1 | Self::V3 => writer.u32(u32::try_from(offset).unwrap_or(u32::MAX)),
            Self::V4 => writer.u64(offset),
        }
    }
}

/// A message of NLM in the form of each version.
pub trait Message<'a>: Sized {
    /// Reads one, borrowing from the record, and leaves the reader behind it.
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self>;

    /// Appends it.
    fn write(&self, writer: &mut Writer, version: Version);
}
