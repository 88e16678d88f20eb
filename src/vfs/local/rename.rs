//! What takes names away or moves them: REMOVE, RMDIR, RENAME, LINK.

use std::os::fd::AsRawFd;

use cleat_mount::Identity;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::identity::{act_as, act_as_server};
use super::name::{Dir, place};
use super::open::Node;
use super::{Handles, LocalFs};
use crate::vfs::{Attributes, FileHandle, Kind, Result, Wcc};

impl LocalFs {
    /// REMOVE and, with `AtFlags::REMOVEDIR`, RMDIR (RFC 1813 3.3.12 and 3.3.13).
    pub(super) fn unlink(
        &self,
        who: &Identity,
        dir: &Dir<'_>,
        name: &[u8],
        flags: AtFlags,
    ) -> Result<()> {
        let gone = self.noted(dir, name)?;
        {
            let _acting = act_as(who)?;
            rustix::fs::unlinkat(&dir.node, name, flags)?;
        }
        self.note_unnamed(gone.as_ref(), dir, name)?;
        self.sync_names(&[&dir.node])
    }

    /// RENAME (RFC 1813 3.3.14).
    pub(super) fn move_name(
        &self,
        who: &Identity,
        (from, from_name): (&Dir<'_>, &[u8]),
        (to, to_name): (&Dir<'_>, &[u8]),
    ) -> Result<()> {
        let moving = self.noted(from, from_name)?;
        let replaced = self.noted(to, to_name)?;
        if let (Handles::Table(tree), Some(node)) = (&self.handles, &moving) {
            tree.will_be_at(self.inode_key(&node.stat), place(to, to_name)?)?;
        }
        {
            let _acting = act_as(who)?;
            rustix::fs::renameat(&from.node, from_name, &to.node, to_name)?;
        }
        let same_file = match (&moving, &replaced) {
            (Some(moving), Some(replaced)) => {
                self.inode_key(&moving.stat) == self.inode_key(&replaced.stat)
            }
            _ => false,
        };
        // Two names of one file: rename(2) leaves both, as RFC 1813 3.3.14 asks.
        if !same_file {
            if let (Handles::Table(tree), Some(node)) = (&self.handles, &moving) {
                let inode = self.inode_key(&node.stat);
                tree.moved(inode, &place(from, from_name)?, place(to, to_name)?)?;
            }
            self.note_unnamed(replaced.as_ref(), to, to_name)?;
        }
        if from.handle == to.handle {
            return self.sync_names(&[&from.node]);
        }
        self.sync_names(&[&to.node, &from.node])
    }

    /// LINK (RFC 1813 3.3.15). The name in /proc leads linkat(2) to the open file itself, also to
    /// a symbolic link, with no right of the server's needed, so that the caller is judged.
    pub(super) fn add_name(
        &self,
        who: &Identity,
        file: &FileHandle,
        dir: &Dir<'_>,
        name: &[u8],
        after: &mut Option<Attributes>,
    ) -> Result<()> {
        let node = self.resolve(file)?;
        *after = Some(node.stat.attributes);
        if node.stat.attributes.kind == Kind::Directory {
            return Err(Errno::PERM.into());
        }
        let linked = {
            let _acting = act_as(who)?;
            let number = node.fd.as_raw_fd().to_string();
            let flags = AtFlags::SYMLINK_FOLLOW;
            rustix::fs::linkat(&self.descriptors, number, &dir.node, name, flags)
        };
        *after = self.after(&node).or(*after);
        match linked {
            // Removed between our look and the call.
            Err(Errno::NOENT) if after.is_some_and(|now| now.links == 0) => {
                return Err(crate::vfs::FsError::Stale);
            }
            other => other?,
        }
        if let Handles::Table(tree) = &self.handles {
            let inode = self.inode_key(&node.stat);
            tree.remember(inode, node.stat.attributes.kind, place(dir, name)?)?;
        }
        self.sync_names(&[&dir.node])?;
        if node.stat.attributes.kind == Kind::Regular {
            self.sync_attributes(&node)
        } else {
            Ok(())
        }
    }

    /// What a name stands for, where something is kept of files by name.
    fn noted(&self, dir: &Dir<'_>, name: &[u8]) -> Result<Option<Node>> {
        if matches!(self.handles, Handles::Kernel) && self.files.is_empty() {
            return Ok(None);
        }
        let _server = act_as_server()?;
        Ok(self.child(&dir.node, name).ok())
    }

    /// Forgets a name, and a file with its last name.
    fn note_unnamed(&self, gone: Option<&Node>, dir: &Dir<'_>, name: &[u8]) -> Result<()> {
        let Some(node) = gone else { return Ok(()) };
        let links = match node.stat.attributes.kind {
            // Not all file systems count a directory's links.
            Kind::Directory => 0,
            _ => self.after(node).map_or(0, |now| now.links),
        };
        if links == 0 {
            self.files.drop_removed(&node.stat);
        }
        match &self.handles {
            Handles::Table(tree) => {
                tree.unnamed(self.inode_key(&node.stat), &place(dir, name)?, links)
            }
            Handles::Kernel => Ok(()),
        }
    }
}

/// The two directories of a rename, which may be one, with what each was like before and is after.
pub(super) fn in_two_dirs<T>(
    fs: &LocalFs,
    (from, to): (&FileHandle, &FileHandle),
    (from_wcc, to_wcc): (&mut Wcc, &mut Wcc),
    change: impl FnOnce(&Dir<'_>, &Dir<'_>) -> Result<T>,
) -> Result<T> {
    if from == to {
        let result = fs.in_dir(from, from_wcc, |dir| change(dir, dir));
        *to_wcc = *from_wcc;
        return result;
    }
    fs.in_dir(from, from_wcc, |from| fs.in_dir(to, to_wcc, |to| change(from, to)))
}
