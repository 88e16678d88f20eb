//! What the kernel says about an open file: its attributes, and what the caller may do to it.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use super::LocalFs;
use crate::vfs::{Attributes, Kind, Result, Timestamp};

/// The bits of a mode that can be set.
pub(super) const MODE_BITS: u32 = 0o7777;
const BLOCK_BYTES: u64 = 512;

/// What statx(2) tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    pub(super) attributes: Attributes,
    /// The device, as this boot numbers it.
    pub(super) dev: u64,
    /// When it was made, where the file system keeps that.
    pub(super) born: Option<Timestamp>,
}

impl LocalFs {
    /// The attributes of an open file; nobody needs a permission for them.
    pub(super) fn stat(&self, file: impl AsFd) -> Result<Stat> {
        let mut stat = stat(&file)?;
        stat.attributes.fsid = if stat.dev == self.root_dev {
            self.fsid
        } else {
            // A subvolume: part of the tree, yet numbered apart.
            fsid(&file, stat.dev)?
        };
        Ok(stat)
    }

    /// The attributes once more, where they can be had.
    pub(super) fn after(&self, file: impl AsFd) -> Option<Attributes> {
        self.stat(file).ok().map(|stat| stat.attributes)
    }
}

/// The number that the kernel gives the file system of an open file; those without one are numbered
/// by their device. What it outlives depends on the file system: see [`super::fsid`].
pub(super) fn fsid(file: impl AsFd, dev: u64) -> Result<u64> {
    let fsid = rustix::fs::fstatvfs(file)?.f_fsid;
    Ok(if fsid == 0 { dev } else { fsid })
}

/// The attributes without the file system's number.
pub(super) fn stat(file: impl AsFd) -> Result<Stat> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let x = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, mask)?;
    let time = |time: rustix::fs::StatxTimestamp| Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    };
    let attributes = Attributes {
        kind: kind(x.stx_mode.into())?,
        mode: u32::from(x.stx_mode) & MODE_BITS,
        links: x.stx_nlink,
        uid: x.stx_uid,
        gid: x.stx_gid,
        size: x.stx_size,
        used: x.stx_blocks.saturating_mul(BLOCK_BYTES),
        device: (x.stx_rdev_major, x.stx_rdev_minor),
        fsid: 0,
        fileid: x.stx_ino,
        accessed: time(x.stx_atime),
        modified: time(x.stx_mtime),
        changed: time(x.stx_ctime),
    };
    let born = StatxFlags::from_bits_retain(x.stx_mask).contains(StatxFlags::BTIME);
    Ok(Stat {
        attributes,
        dev: rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor),
        born: born.then(|| time(x.stx_btime)),
    })
}

fn kind(mode: u32) -> Result<Kind> {
    Ok(match mode & libc::S_IFMT {
        libc::S_IFREG => Kind::Regular,
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFBLK => Kind::Block,
        libc::S_IFCHR => Kind::Character,
        libc::S_IFLNK => Kind::Symlink,
        libc::S_IFSOCK => Kind::Socket,
        libc::S_IFIFO => Kind::Fifo,
        _ => return Err(Errno::IO.into()),
    })
}

/// Whether whoever the thread acts as may execute a file.
pub(super) fn may_execute(file: impl AsFd) -> bool {
    may(file, libc::X_OK)
}

/// faccessat2(2): with AT_EACCESS it is the fsuid that is judged.
pub(super) fn may(file: impl AsFd, mode: libc::c_int) -> bool {
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the path is a C string; nothing is written.
    unsafe { libc::syscall(libc::SYS_faccessat2, fd, c"".as_ptr(), mode, flags) == 0 }
}
