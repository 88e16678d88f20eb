//! READDIR: entries with cookies that stay good while other entries come and go.
//!
//! A cookie is the kernel's own d_off: on ext4, xfs and btrfs a place in the directory's order,
//! not a count of entries.

use std::hash::Hasher;

use cleat_mount::Identity;
use rustix::fs::{OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use siphasher::sip::SipHasher24;

use super::LocalFs;
use super::identity::act_as;
use super::stat::Stat;
use crate::vfs::{Attributes, Entry, FileHandle, FsError, Kind, Listing, Result};

/// What one getdents64 call may bring.
pub(super) const LIST_BUFFER_BYTES: usize = 32 << 10;

impl LocalFs {
    /// READDIR (RFC 1813 3.3.16).
    pub(super) fn list(
        &self,
        who: &Identity,
        dir: &FileHandle,
        (cookie, verifier): (u64, [u8; 8]),
        take: &mut dyn FnMut(Entry<'_>) -> bool,
        after: &mut Option<Attributes>,
    ) -> Result<Listing> {
        let node = self.resolve(dir)?;
        *after = Some(node.stat.attributes);
        if node.stat.attributes.kind != Kind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let fd = {
            let _acting = act_as(who)?;
            self.reopen(&node, OFlags::RDONLY | OFlags::DIRECTORY)?
        };
        let own_verifier = verifier_of(&node.stat);
        if cookie != 0 {
            if verifier != own_verifier || i64::try_from(cookie).is_err() {
                return Err(FsError::BadCookie);
            }
            rustix::fs::seek(&fd, SeekFrom::Start(cookie)).map_err(|_| FsError::BadCookie)?;
        }
        let root = self.is_root(&node.stat).then_some(node.stat.attributes.fileid);
        let eof = offer(&fd, root, take)?;
        *after = self.after(&fd).or(*after);
        Ok(Listing { verifier: own_verifier, eof })
    }
}

/// Offers the entries from where the descriptor stands; tells whether the last was taken.
fn offer(
    fd: &std::os::fd::OwnedFd,
    root: Option<u64>,
    take: &mut dyn FnMut(Entry<'_>) -> bool,
) -> Result<bool> {
    let mut buffer = Vec::with_capacity(LIST_BUFFER_BYTES);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            // Removed since it was opened.
            Err(Errno::NOENT) => return Err(FsError::Stale),
            other => other?,
        };
        let name = entry.file_name().to_bytes();
        let fileid = match root {
            // Nothing is above the root.
            Some(root) if name == b".." => root,
            _ => entry.ino(),
        };
        if !take(Entry { fileid, name, cookie: entry.next_entry_cookie() }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The cookie verifier: the same as long as the directory is the same one.
fn verifier_of(stat: &Stat) -> [u8; 8] {
    let mut hasher = SipHasher24::new();
    hasher.write_u64(stat.attributes.fsid);
    hasher.write_u64(stat.attributes.fileid);
    if let Some(born) = stat.born {
        hasher.write_i64(born.seconds);
        hasher.write_u32(born.nanoseconds);
    }
    hasher.finish().to_be_bytes()
}
