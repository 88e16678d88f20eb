//! From a handle to an open file, judged as the caller, and never out of the tree.
//!
//! A handle is opened by the server with O_PATH, which touches nothing. What reads or writes is
//! then opened again through /proc/self/fd under the caller's identity, so that the kernel judges
//! the inode itself. Only a regular file or a directory is ever opened so: a device or a pipe
//! stays untouched.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::PoisonError;

use cleat_mount::Identity;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::handle::{self, Named};
use super::identity::{act_as_server, acting_uid};
use super::stat::{Stat, may_execute};
use super::{Handles, LocalFs};
use crate::vfs::{FileHandle, FsError, Kind, Result};

/// How every name is opened: to point at, not to use; never through a symbolic link.
pub(super) const POINT: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How every file is opened that is used.
const USE: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// What a name may not lead through.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
/// How often a name is looked up that seems to lead out of its directory.
const OUTSIDE_TRIES: usize = 8;
/// What an owner needs to read, write and search.
const MODE_OWNER_ALL: u32 = 0o700;
/// The most directories between a directory and the root.
pub(super) const DEPTH_MAX: usize = 1024;

/// An O_PATH descriptor and what the file was like when it was opened.
pub(super) struct Node {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens (O_PATH) a name or a relative path below a directory.
pub(super) fn point_at(dir: impl AsFd, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat2(dir, path, POINT, Mode::empty(), INSIDE)
}

impl LocalFs {
    /// Opens (O_PATH) what a handle names, as the server.
    pub(super) fn resolve(&self, file: &FileHandle) -> Result<Node> {
        let _server = act_as_server()?;
        let node = match (Named::parse(file)?, &self.handles) {
            (Named::Kernel(kind, bytes), Handles::Kernel) => {
                self.node(handle::open(&self.root, kind, bytes)?)?
            }
            (Named::Table(id), Handles::Table(tree)) => tree.open(self, id)?,
            // Handles of the other sort were good before the server's privileges changed.
            _ => return Err(FsError::Stale),
        };
        if node.stat.attributes.links == 0 {
            // Removed, but still open somewhere on this machine.
            return Err(FsError::Stale);
        }
        Ok(node)
    }

    /// A node of a descriptor.
    pub(super) fn node(&self, fd: OwnedFd) -> Result<Node> {
        let stat = self.stat(&fd)?;
        Ok(Node { fd, stat })
    }

    /// Whether this is the root.
    pub(super) fn is_root(&self, stat: &Stat) -> bool {
        stat.dev == self.root_dev && stat.attributes.fileid == self.root_ino
    }

    /// Opens (O_PATH) a name as whoever the thread acts as. What is mounted inside the tree is exported
    /// on its own: in our own mount nothing is, and the directory below is found. A server that may
    /// not have one does not follow a mount point, and LOOKUP's errors (RFC 1813 3.3.3) have nothing
    /// nearer for it than ACCES.
    pub(super) fn child(&self, dir: &Node, name: &[u8]) -> Result<Node> {
        // The kernel says the same of a file that is renamed away between its being found and its
        // being opened; a mount point stays one.
        for _ in 0..OUTSIDE_TRIES {
            match point_at(dir, name) {
                Err(Errno::XDEV) => {}
                other => return self.node(other?),
            }
        }
        Err(Errno::ACCESS.into())
    }

    /// Opens (O_PATH) the directory above one, which is never above the root: a directory that
    /// was moved out of the tree has lost its way back and is stale.
    pub(super) fn parent(&self, dir: &Node) -> Result<Node> {
        if dir.stat.attributes.kind != Kind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        if self.is_root(&dir.stat) {
            return self.node(rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?);
        }
        let parent = self.above(dir)?.ok_or(FsError::Stale)?;
        let _server = act_as_server()?;
        if self.is_root(&parent.stat) {
            return Ok(parent);
        }
        let mut next = self.above(&parent)?;
        for _ in 0..DEPTH_MAX {
            match next {
                Some(node) if self.is_root(&node.stat) => return Ok(parent),
                Some(node) => next = self.above(&node)?,
                None => break,
            }
        }
        Err(FsError::Stale)
    }

    /// One step up within the mount; `None` at its top.
    fn above(&self, dir: &Node) -> Result<Option<Node>> {
        let flags = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let node = match rustix::fs::openat2(dir, "..", POINT, Mode::empty(), flags) {
            // Out of this mount, or of the part of the file system that is in it.
            Err(Errno::XDEV | Errno::NOENT) => return Ok(None),
            other => self.node(other?)?,
        };
        let same = (node.stat.dev, node.stat.attributes.fileid)
            == (dir.stat.dev, dir.stat.attributes.fileid);
        Ok((!same).then_some(node))
    }

    /// Opens a file for use, as whoever the thread acts as.
    pub(super) fn reopen(&self, node: impl AsFd, flags: OFlags) -> Result<OwnedFd> {
        let name = node.as_fd().as_raw_fd().to_string();
        Ok(rustix::fs::openat(&self.descriptors, name, flags | USE, Mode::empty())?)
    }

    /// Opens a regular file to read as the caller. Its owner may always read, and who may
    /// execute may read, since that is how a client runs a program (RFC 1813 4.4).
    pub(super) fn open_to_read(&self, who: &Identity, node: &Node) -> Result<OwnedFd> {
        regular(node)?;
        match self.reopen(node, OFlags::RDONLY) {
            Err(FsError::Os(Errno::ACCESS)) if owns(who, node) || may_execute(node) => {
                self.reopen_as_owner(node, OFlags::RDONLY)
            }
            other => other,
        }
    }

    /// Opens a regular file to write as the caller. Its owner may always write (RFC 1813 4.4):
    /// who made a file of mode 0444 has it open for writing at the client.
    pub(super) fn open_to_write(&self, who: &Identity, node: &Node) -> Result<OwnedFd> {
        regular(node)?;
        match self.reopen(node, OFlags::WRONLY) {
            Err(FsError::Os(Errno::ACCESS)) if owns(who, node) => {
                self.reopen_as_owner(node, OFlags::WRONLY)
            }
            other => other,
        }
    }

    /// Opens a regular file or a directory to sync it, as the server.
    pub(super) fn reopen_to_sync(&self, node: &Node) -> Result<OwnedFd> {
        match self.reopen(node, OFlags::RDONLY) {
            Err(FsError::Os(Errno::ACCESS)) => self.reopen_as_owner(node, OFlags::RDONLY),
            other => other,
        }
    }

    /// Opens a file as the server, for its owner, whatever the mode. Root may. Any other server owns
    /// the file itself then, and gives its owner the right for as long as it takes to open it: a
    /// client that made a file of mode 0444 has it open for writing, and a server that was started
    /// anew meanwhile has not.
    fn reopen_as_owner(&self, node: &Node, flags: OFlags) -> Result<OwnedFd> {
        let _server = act_as_server()?;
        match self.reopen(node, flags) {
            Err(FsError::Os(Errno::ACCESS)) => {}
            other => return other,
        }
        // Nobody else is to take the lent right for the file's own.
        let _alone = self.lending.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = self.stat(node)?.attributes.mode;
        self.change_mode(node, mode | MODE_OWNER_ALL)?;
        let opened = self.reopen(node, flags);
        self.change_mode(node, mode)?;
        opened
    }
}

fn owns(who: &Identity, node: &Node) -> bool {
    acting_uid(who) == node.stat.attributes.uid
}

/// READ, WRITE and the like take regular files.
pub(super) fn regular(node: &Node) -> Result<()> {
    match node.stat.attributes.kind {
        Kind::Regular => Ok(()),
        Kind::Directory => Err(Errno::ISDIR.into()),
        _ => Err(Errno::INVAL.into()),
    }
}
