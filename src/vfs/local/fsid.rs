//! The number of a file system: the first bytes of every lock's identity of a file, and the fsid of
//! its attributes. It must outlive a restart, a boot and a disk that comes back as another device.
//!
//! | file system | the number is | it survives |
//! | --- | --- | --- |
//! | ext4, btrfs | `f_fsid`, which the kernel makes of the UUID (and the subvolume) | all of these, and another machine |
//! | XFS and others with a UUID | made of the UUID | the same |
//! | any other: overlayfs, FUSE, NFS, tmpfs | made once and kept in the state directory, by the path, the type, the inode and the birth of the exported directory | all of these, not another machine or another path |
//!
//! A state directory that has locks under the number that such a file system had before (its
//! `f_fsid`, on XFS the number of the device) keeps that one for it: see [`Numbers`].

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::ioctl::{Getter, Opcode, ioctl, opcode};
use siphasher::sip::SipHasher24;

use super::stat::{self, Stat};
use super::table::HandleTable;
use crate::vfs::Timestamp;

/// statfs(2) types whose `f_fsid` is made of the UUID.
const UUID_IS_FSID: [u64; 2] = [0xef53, 0x9123_683e];
const TMPFS: u64 = 0x0102_1994;
const UUID_BYTES: usize = 16;
/// Rows of numbers among the rows of handles, which begin with eight bytes of chance.
const NUMBER_ROWS: &[u8] = b"fs-number/";
const TAKEN_ROWS: &[u8] = b"fs-number-taken/";

/// `struct fsuuid2` of linux/fs.h.
#[repr(C)]
struct FsUuid {
    len: u8,
    uuid: [u8; UUID_BYTES],
}

/// `struct xfs_fsop_geom_v1` of XFS, of which the UUID matters.
#[repr(C)]
struct XfsGeometry {
    before: [u64; 8],
    uuid: [u8; UUID_BYTES],
    after: [u64; 4],
}

const FS_IOC_GETFSUUID: Opcode = opcode::read::<FsUuid>(0x15, 0);
const XFS_IOC_FSGEOMETRY_V1: Opcode = opcode::read::<XfsGeometry>(b'X', 100);

/// The numbers of the file systems that a server serves.
pub struct Numbers {
    table: Arc<dyn HandleTable>,
    recorded: HashSet<u64>,
    /// By device, as this boot numbers it.
    known: HashMap<u64, u64>,
}

impl Numbers {
    /// `recorded` are the numbers under which locks are on record; what is made once is kept in
    /// `table`.
    #[must_use]
    pub fn new(table: Arc<dyn HandleTable>, recorded: HashSet<u64>) -> Self {
        Self { table, recorded, known: HashMap::new() }
    }

    /// The number of the file system of an open directory.
    pub(super) fn number(&mut self, root: &OwnedFd, path: &Path, stat: &Stat) -> io::Result<u64> {
        let magic = u64::try_from(rustix::fs::fstatfs(root)?.f_type).unwrap_or_default();
        let today = stat::fsid(root, stat.dev).map_err(super::into_io)?;
        let number = if UUID_IS_FSID.contains(&magic) {
            today
        } else {
            let uuid = uuid_of(root, magic, stat.dev);
            let name = uuid.map_or_else(|| name_by_path(path, magic, stat), |uuid| uuid.to_vec());
            let fresh = uuid.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0, |it| hash(&it));
            match self.known.get(&stat.dev) {
                // Two exports of one file system have one number.
                Some(&number) => self.keep(&name, number)?,
                None => self.kept(&name, today, fresh)?,
            }
        };
        let twin = self.known.iter().find(|&(&dev, &known)| known == number && dev != stat.dev);
        let number = if twin.is_some() {
            tracing::warn!(
                path = %path.display(),
                "another export has a file system of the same UUID: their locks are told apart by \
                 the numbers of their devices, which a boot may change; give one a UUID of its own"
            );
            number ^ hash(&stat.dev.to_be_bytes())
        } else {
            number
        };
        self.known.insert(stat.dev, number);
        Ok(number)
    }

    /// The number on record for a name, or a new one: that of today, where locks are on record under
    /// it and no other file system has it.
    fn kept(&self, name: &[u8], today: u64, fresh: u64) -> io::Result<u64> {
        let row = [NUMBER_ROWS, name].concat();
        let found = self.table.get(&row)?.and_then(|bytes| bytes.try_into().ok());
        if let Some(found) = found.map(u64::from_be_bytes) {
            return Ok(found);
        }
        let free = self.table.get(&taken_row(today))?.is_none();
        let number = if self.recorded.contains(&today) && free { today } else { fresh };
        self.keep(name, number)
    }

    fn keep(&self, name: &[u8], number: u64) -> io::Result<u64> {
        let row = [NUMBER_ROWS, name].concat();
        let value = number.to_be_bytes().to_vec();
        if self.table.get(&row)?.as_ref() != Some(&value) {
            let taken = (taken_row(number), Some(name.to_vec()));
            self.table.write(&[(row, Some(value)), taken])?;
        }
        Ok(number)
    }
}

fn taken_row(number: u64) -> Vec<u8> {
    [TAKEN_ROWS, &number.to_be_bytes()].concat()
}

/// The UUID that a file system has on its disk.
fn uuid_of(root: impl AsFd, magic: u64, dev: u64) -> Option<[u8; UUID_BYTES]> {
    if magic == TMPFS {
        // Of this mount alone.
        return None;
    }
    let known = |uuid: &[u8; UUID_BYTES]| *uuid != [0; UUID_BYTES];
    // SAFETY: the kernel fills in this struct, which is as linux/fs.h has it.
    let generic = unsafe { ioctl(&root, Getter::<FS_IOC_GETFSUUID, FsUuid>::new()) };
    // SAFETY: the same of xfs_fs.h; only XFS knows the number.
    let xfs = || unsafe { ioctl(&root, Getter::<XFS_IOC_FSGEOMETRY_V1, XfsGeometry>::new()) };
    let generic = generic.ok().filter(|found| usize::from(found.len) == UUID_BYTES);
    let found = generic.map(|found| found.uuid).or_else(|| xfs().ok().map(|found| found.uuid));
    found.filter(known).or_else(|| by_device(dev))
}

/// The UUID that udev read off a disk, hashed where it is none of 16 bytes.
fn by_device(dev: u64) -> Option<[u8; UUID_BYTES]> {
    let links = std::fs::read_dir("/dev/disk/by-uuid").ok()?;
    let link = links
        .flatten()
        .find(|link| std::fs::metadata(link.path()).is_ok_and(|device| device.rdev() == dev))?;
    let name = link.file_name();
    let [one, other] = [&b"1"[..], b"2"].map(|salt| hash(&[salt, name.as_bytes()].concat()));
    let mut uuid = [0; UUID_BYTES];
    uuid[..8].copy_from_slice(&one.to_be_bytes());
    uuid[8..].copy_from_slice(&other.to_be_bytes());
    Some(uuid)
}

/// What tells a directory of a file system without a UUID from another that may be there later.
fn name_by_path(path: &Path, magic: u64, stat: &Stat) -> Vec<u8> {
    let Timestamp { seconds, nanoseconds } = stat.born.unwrap_or_default();
    let words = [magic, stat.attributes.fileid, seconds.cast_unsigned(), nanoseconds.into()];
    let mut name = words.map(u64::to_be_bytes).concat();
    name.extend(path.as_os_str().as_bytes());
    name
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::table::MemoryHandleTable;
    use super::*;

    #[test]
    fn a_number_is_made_once_and_kept() {
        let table: Arc<dyn HandleTable> = Arc::new(MemoryHandleTable::default());
        let numbers =
            |recorded: &[u64]| Numbers::new(Arc::clone(&table), recorded.iter().copied().collect());
        assert_eq!(numbers(&[]).kept(b"one", 7, 100).unwrap(), 100);
        // Locks are on record under today's number: it stays, whatever that becomes.
        assert_eq!(numbers(&[7]).kept(b"two", 7, 200).unwrap(), 7);
        assert_eq!(numbers(&[7, 8]).kept(b"two", 8, 300).unwrap(), 7);
        // But nobody gets the number of another file system.
        assert_eq!(numbers(&[7]).kept(b"three", 7, 400).unwrap(), 400);
        assert_eq!(numbers(&[]).kept(b"one", 9, 500).unwrap(), 100);
    }

    #[test]
    fn ioctl_numbers_are_the_kernels() {
        assert_eq!((FS_IOC_GETFSUUID, XFS_IOC_FSGEOMETRY_V1), (0x8011_1500, 0x8070_5864));
    }
}
