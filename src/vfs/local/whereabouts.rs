//! From a lock's identity of a file back to its path, and from a path to the identity: for people
//! who look at locks. No client's request comes here.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::handle::{self, Named};
use super::identity::act_as_server;
use super::table::InodeKey;
use super::{Handles, LocalFs, TABLE_HANDLE, stat};
use crate::vfs::{FileHandle, FileIdentity, FsError, Result, Whereabouts};

/// What the kernel puts behind the path of a file that has no name any more (proc_pid_fd(5)).
const DELETED: &[u8] = b" (deleted)";
/// The first bytes of an identity: the number of the file system.
const FSID_BYTES: usize = 8;

impl LocalFs {
    /// Where the file of an identity is now. The kernel knows a path as long as a name of the file
    /// is in its cache, as it is from a lookup on; else only the inode is told.
    pub(super) fn find_path(&self, identity: &FileIdentity) -> Option<Whereabouts> {
        let (fsid, rest) = identity.0.split_at_checked(FSID_BYTES)?;
        if fsid != self.fsid.to_be_bytes() {
            return None;
        }
        let _server = act_as_server().ok()?;
        match self.open_identity(rest)? {
            Ok(fd) => Some(self.path_of(&fd)),
            Err(FsError::Stale) => Some(Whereabouts::Deleted(None)),
            Err(_) => None,
        }
    }

    /// Opens (O_PATH) what an identity names; `None` where it is not of this sort.
    fn open_identity(&self, rest: &[u8]) -> Option<Result<OwnedFd>> {
        match (&self.handles, rest) {
            (Handles::Table(tree), [TABLE_HANDLE, inode @ ..]) => {
                let inode = InodeKey::from_bytes(inode.try_into().ok()?);
                let open = || {
                    let id = tree.known(inode)?.ok_or(FsError::Stale)?;
                    Ok(tree.open(self, id)?.fd)
                };
                Some(open())
            }
            (Handles::Kernel, _) => match Named::parse(&FileHandle(rest.into())) {
                Ok(Named::Kernel(kind, bytes)) => Some(handle::open(&self.root, kind, bytes)),
                _ => None,
            },
            _ => None,
        }
    }

    fn path_of(&self, fd: &OwnedFd) -> Whereabouts {
        let Ok(found) = stat::stat(fd) else { return Whereabouts::Deleted(None) };
        let name = fd.as_raw_fd().to_string();
        let link = rustix::fs::readlinkat(&self.descriptors, name, Vec::new());
        let link = link.map(std::ffi::CString::into_bytes).unwrap_or_default();
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
        if found.attributes.links == 0 {
            let path = link.strip_suffix(DELETED).map(path);
            return Whereabouts::Deleted(path.map(|path| self.seen_path(path)));
        }
        let inode = (found.dev, found.attributes.fileid);
        let path = self.seen_path(path(&link));
        // A file that was found by its handle alone has no name yet: it is shown as "/".
        let there = point_at(&path).ok().and_then(|fd| stat::stat(fd).ok());
        match there {
            Some(there) if (there.dev, there.attributes.fileid) == inode => Whereabouts::At(path),
            _ => Whereabouts::Nameless { device: inode.0, inode: inode.1 },
        }
    }

    /// What locks on the file at a path of this machine are kept by; `None` where the path leads
    /// out of this file system. Symbolic links are followed.
    pub(super) fn identify(&self, path: &Path) -> Result<Option<FileIdentity>> {
        let _server = act_as_server()?;
        let fd = point_at(path)?;
        let found = stat::stat(&fd)?;
        let inside = self.is_below(path);
        if !inside && found.dev != self.root_dev {
            return Ok(None);
        }
        let mut bytes = self.fsid.to_be_bytes().to_vec();
        match &self.handles {
            Handles::Kernel => bytes.extend(&handle::of(&fd)?.0),
            Handles::Table(_) => {
                bytes.push(TABLE_HANDLE);
                bytes.extend(self.inode_key(&found).to_bytes());
            }
        }
        Ok(Some(FileIdentity(bytes.into())))
    }

    /// Whether a path leads to something below the root: what is a subvolume there has a number
    /// of its own, and is part of the tree all the same.
    fn is_below(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|path| path.starts_with(&self.path))
    }

    /// The path on this machine of what has this path in our own mount, whose root is the
    /// directory that is served.
    fn seen_path(&self, path: PathBuf) -> PathBuf {
        match (&self.mount, path.strip_prefix("/")) {
            (Some(_), Ok(below)) => self.path.join(below),
            _ => path,
        }
    }
}

/// Opens (O_PATH) what a path of this machine leads to.
fn point_at(path: &Path) -> std::result::Result<File, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map(File::from)
}
