//! READDIR: entries with cookies that stay good while other entries come and go.
//!
//! A cookie is the kernel's own d_off: on ext4, xfs and btrfs a place in the directory's order,
//! not a count of entries.

use std::hash::Hasher;
use std::os::fd::AsFd;

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
        // Some clients never send a verifier: other servers have none, and take 0 for any.
        if cookie != 0 && verifier != own_verifier && verifier != [0; 8] {
            return Err(FsError::BadCookie);
        }
        let root = self.is_root(&node.stat).then_some(node.stat.attributes.fileid);
        let behind = if cookie == 0 { None } else { go_behind(&fd, cookie)? };
        let eof = offer(&fd, root, behind, take)?;
        *after = self.after(&fd).or(*after);
        Ok(Listing { verifier: own_verifier, eof })
    }
}

/// Has the descriptor stand behind the entry of a cookie. Where the kernel does not seek there (it
/// takes no offset with the highest bit set, which NFS and FUSE servers give out), that entry is to
/// be found from the start: its cookie is returned.
fn go_behind(fd: impl AsFd, cookie: u64) -> Result<Option<u64>> {
    match rustix::fs::seek(fd, SeekFrom::Start(cookie)) {
        Ok(_) => Ok(None),
        Err(Errno::INVAL | Errno::OVERFLOW) => Ok(Some(cookie)),
        Err(errno) => Err(errno.into()),
    }
}

/// Offers the entries from where the descriptor stands, or `behind` that of a cookie; tells whether
/// the last was taken.
fn offer(
    fd: impl AsFd,
    root: Option<u64>,
    mut behind: Option<u64>,
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
        if let Some(cookie) = behind {
            if entry.next_entry_cookie() == cookie {
                behind = None;
            }
            continue;
        }
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
    if behind.is_some() { Err(FsError::BadCookie) } else { Ok(true) }
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn where_the_kernel_does_not_seek_the_entry_of_a_cookie_is_found_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..2_000 {
            std::fs::write(dir.path().join(format!("a name of some length {n}")), b"").unwrap();
        }
        let listed = |behind| {
            let (fd, mut found) = (File::open(dir.path()).unwrap(), Vec::new());
            let take = &mut |entry: Entry<'_>| {
                found.push((entry.name.to_vec(), entry.cookie));
                true
            };
            offer(&fd, None, behind, take).map(|eof| {
                assert!(eof);
                found
            })
        };
        let all = listed(None).unwrap();
        for at in [0, 1, 999, all.len() - 2] {
            assert_eq!(listed(Some(all[at].1)).unwrap(), all[at + 1..], "{at}");
        }
        assert_eq!(listed(Some(1 << 63)), Err(FsError::BadCookie));
        let fd = File::open(dir.path()).unwrap();
        assert_eq!(go_behind(&fd, 1 << 63), Ok(Some(1 << 63)));
        assert_eq!(go_behind(&fd, all[7].1), Ok(None));
    }
}
