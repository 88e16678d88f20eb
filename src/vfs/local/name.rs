//! LOOKUP and what makes names: CREATE, MKDIR, SYMLINK, MKNOD.

use std::os::fd::OwnedFd;

use cleat_mount::Identity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::identity::act_as;
use super::open::Node;
use super::stat::{MODE_BITS, may_execute};
use super::table::Place;
use super::{Handles, LocalFs, handle};
use crate::vfs::{
    Attributes, CreateHow, FileHandle, FsError, Kind, Node as NodeKind, Result, SetAttributes,
    SetTime, Timestamp, Wcc,
};

/// The mode of a file whose maker names none: nobody else's until somebody says so.
const MODE_DEFAULT: u32 = 0o600;
/// The same of a directory.
const MODE_DIR_DEFAULT: u32 = 0o700;
/// How often CREATE looks again where the name comes and goes meanwhile.
const CREATE_TRIES_MAX: usize = 8;
/// What a device number can be (makedev(3) as mknod(2) takes it).
const MAJOR_MAX: u32 = 0xfff;
const MINOR_MAX: u32 = 0xf_ffff;

/// A file's handle and attributes, as the makers and LOOKUP return them.
type Made = (FileHandle, Attributes);

/// A directory in which something is made or changed, with the handle it was named by.
pub(super) struct Dir<'a> {
    pub(super) handle: &'a FileHandle,
    pub(super) node: Node,
}

impl LocalFs {
    /// Runs a change of a directory, with its attributes before and after.
    pub(super) fn in_dir<T>(
        &self,
        handle: &FileHandle,
        wcc: &mut Wcc,
        change: impl FnOnce(&Dir<'_>) -> Result<T>,
    ) -> Result<T> {
        let changing = self.changes.begin(handle);
        let dir = Dir { handle, node: self.resolve(handle)? };
        let before = Some(dir.node.stat.attributes);
        *wcc = Wcc { before, after: before };
        if dir.node.stat.attributes.kind != Kind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let result = change(&dir);
        wcc.after = self.after(&dir.node).or(before);
        changing.judge(wcc);
        result
    }

    /// The handle of a file found in a directory.
    fn handle_of(&self, dir: &Dir<'_>, name: &[u8], node: &Node) -> Result<FileHandle> {
        match &self.handles {
            Handles::Kernel => Ok(handle::of(node)?),
            Handles::Table(tree) => {
                let place = place(dir, name)?;
                let inode = self.inode_key(&node.stat);
                Ok(handle::Named::of_table(tree.remember(
                    inode,
                    node.stat.attributes.kind,
                    place,
                )?))
            }
        }
    }

    /// The handle of a directory that lies above another that has one.
    fn handle_above(&self, node: &Node) -> Result<FileHandle> {
        if self.is_root(&node.stat) {
            return Ok(self.root_handle.clone());
        }
        match &self.handles {
            Handles::Kernel => Ok(handle::of(node)?),
            Handles::Table(tree) => {
                let id = tree.known(self.inode_key(&node.stat))?.ok_or(FsError::Stale)?;
                Ok(handle::Named::of_table(id))
            }
        }
    }

    /// LOOKUP (RFC 1813 3.3.3).
    pub(super) fn find(
        &self,
        who: &Identity,
        handle: &FileHandle,
        name: &[u8],
        dir_after: &mut Option<Attributes>,
    ) -> Result<Made> {
        let dir = Dir { handle, node: self.resolve(handle)? };
        *dir_after = Some(dir.node.stat.attributes);
        let acting = act_as(who)?;
        match name {
            b"." | b".." => {
                if dir.node.stat.attributes.kind != Kind::Directory {
                    return Err(Errno::NOTDIR.into());
                }
                if !may_execute(&dir.node) {
                    return Err(Errno::ACCESS.into());
                }
                if name == b"." {
                    return Ok((handle.clone(), dir.node.stat.attributes));
                }
                let above = self.parent(&dir.node)?;
                Ok((self.handle_above(&above)?, above.stat.attributes))
            }
            _ => {
                let node = self.child(&dir.node, name)?;
                drop(acting);
                Ok((self.handle_of(&dir, name, &node)?, node.stat.attributes))
            }
        }
    }

    /// CREATE (RFC 1813 3.3.8).
    pub(super) fn make_file(
        &self,
        who: &Identity,
        dir: &Dir<'_>,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Made> {
        let set = match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => set,
            CreateHow::Exclusive(verifier) => {
                let (accessed, modified) = verifier_times(verifier, self.time_step_ns);
                let (accessed, modified) = (SetTime::To(accessed), SetTime::To(modified));
                // Nobody's but its maker's until SETATTR follows.
                SetAttributes { mode: Some(0), accessed, modified, ..SetAttributes::default() }
            }
        };
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let mode = mode_of(&set, MODE_DEFAULT);
        for _ in 0..CREATE_TRIES_MAX {
            let made = {
                let _acting = act_as(who)?;
                rustix::fs::openat(&dir.node, name, flags, mode)
            };
            match made {
                Ok(fd) => return self.made(who, dir, name, fd, &set),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            match self.make_do(who, dir, name, how) {
                Err(FsError::Os(Errno::NOENT)) => {}
                other => return other,
            }
        }
        Err(Errno::EXIST.into())
    }

    /// CREATE of a name that is there.
    fn make_do(&self, who: &Identity, dir: &Dir<'_>, name: &[u8], how: CreateHow) -> Result<Made> {
        let mut node = {
            let _acting = act_as(who)?;
            self.child(&dir.node, name)?
        };
        let found = &node.stat.attributes;
        match how {
            CreateHow::Unchecked(set) => {
                let handle = self.handle_of(dir, name, &node)?;
                // What is no file is returned as it is, and the client sees what it is.
                if set.size == Some(0) && found.kind == Kind::Regular {
                    let set = SetAttributes { size: set.size, ..SetAttributes::default() };
                    let _changing = self.changes.begin(&handle);
                    self.apply_attributes(who, &node, &set)?;
                    self.sync_attributes(&node)?;
                    node.stat = self.stat(&node)?;
                }
                Ok((handle, node.stat.attributes))
            }
            CreateHow::Exclusive(verifier)
                if found.kind == Kind::Regular
                    && found.size == 0
                    && (found.accessed, found.modified)
                        == verifier_times(verifier, self.time_step_ns) =>
            {
                // The same call again, whose answer was lost.
                Ok((self.handle_of(dir, name, &node)?, node.stat.attributes))
            }
            _ => Err(Errno::EXIST.into()),
        }
    }

    /// MKDIR (RFC 1813 3.3.9).
    pub(super) fn make_directory(
        &self,
        who: &Identity,
        dir: &Dir<'_>,
        name: &[u8],
        set: &SetAttributes,
    ) -> Result<Made> {
        let mode = mode_of(set, MODE_DIR_DEFAULT);
        let make = || rustix::fs::mkdirat(&dir.node, name, mode);
        self.make_named(who, (dir, name), set, Kind::Directory, make)
    }

    /// SYMLINK (RFC 1813 3.3.10).
    pub(super) fn make_symlink(
        &self,
        who: &Identity,
        dir: &Dir<'_>,
        name: &[u8],
        target: &[u8],
        set: &SetAttributes,
    ) -> Result<Made> {
        let set = SetAttributes { mode: None, size: None, ..*set };
        let make = || rustix::fs::symlinkat(target, &dir.node, name);
        self.make_named(who, (dir, name), &set, Kind::Symlink, make)
    }

    /// MKNOD (RFC 1813 3.3.11). The kernel keeps devices for those who may make them.
    pub(super) fn make_special(
        &self,
        who: &Identity,
        dir: &Dir<'_>,
        name: &[u8],
        node: NodeKind,
        set: &SetAttributes,
    ) -> Result<Made> {
        let (file_type, kind, (major, minor)) = match node {
            NodeKind::Character(major, minor) => {
                (FileType::CharacterDevice, Kind::Character, (major, minor))
            }
            NodeKind::Block(major, minor) => (FileType::BlockDevice, Kind::Block, (major, minor)),
            NodeKind::Socket => (FileType::Socket, Kind::Socket, (0, 0)),
            NodeKind::Fifo => (FileType::Fifo, Kind::Fifo, (0, 0)),
        };
        if major > MAJOR_MAX || minor > MINOR_MAX {
            return Err(Errno::INVAL.into());
        }
        let device = rustix::fs::makedev(major, minor);
        let mode = mode_of(set, MODE_DEFAULT);
        let make = || rustix::fs::mknodat(&dir.node, name, file_type, mode, device);
        self.make_named(who, (dir, name), set, kind, make)
    }

    /// Makes what cannot be opened in the same call, and then opens (O_PATH) it. Somebody may have
    /// put another thing there meanwhile, which is not to get the attributes of what is made.
    pub(super) fn make_named(
        &self,
        who: &Identity,
        (dir, name): (&Dir<'_>, &[u8]),
        set: &SetAttributes,
        kind: Kind,
        make: impl FnOnce() -> std::result::Result<(), Errno>,
    ) -> Result<Made> {
        let node = {
            let _acting = act_as(who)?;
            make()?;
            self.child(&dir.node, name)?
        };
        if node.stat.attributes.kind != kind {
            return Err(Errno::EXIST.into());
        }
        self.made(who, dir, name, node.fd, set)
    }

    /// What is left to do once a name is made: attributes, storage, handle.
    fn made(
        &self,
        who: &Identity,
        dir: &Dir<'_>,
        name: &[u8],
        fd: OwnedFd,
        set: &SetAttributes,
    ) -> Result<Made> {
        let mut node = self.node(fd)?;
        match self.finish_attributes(who, &node, set) {
            Ok(true) => self.sync_attributes(&node)?,
            Ok(false) => {}
            Err(error) => {
                self.unmake(who, dir, name, &node);
                return Err(error);
            }
        }
        self.sync_names(&[&dir.node])?;
        node.stat = self.stat(&node)?;
        Ok((self.handle_of(dir, name, &node)?, node.stat.attributes))
    }

    /// Takes back what was just made and is not as it was asked for, as who made it: another may have
    /// put a file of its own there meanwhile.
    fn unmake(&self, who: &Identity, dir: &Dir<'_>, name: &[u8], node: &Node) {
        let flags = match node.stat.attributes.kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        if let Ok(_maker) = act_as(who)
            && let Ok(found) = self.child(&dir.node, name)
            && (found.stat.dev, found.stat.attributes.fileid)
                == (node.stat.dev, node.stat.attributes.fileid)
        {
            // What cannot be taken back stays; the error is told anyway.
            let _ = rustix::fs::unlinkat(&dir.node, name, flags);
        }
    }
}

/// A name as the handle table has it.
pub(super) fn place(dir: &Dir<'_>, name: &[u8]) -> Result<Place> {
    match handle::Named::parse(dir.handle)? {
        handle::Named::Table(parent) => Ok(Place { parent, name: name.into() }),
        handle::Named::Kernel(..) => Err(FsError::Stale),
    }
}

fn mode_of(set: &SetAttributes, default: u32) -> Mode {
    Mode::from_raw_mode(set.mode.unwrap_or(default) & MODE_BITS)
}

/// Where an exclusive create's verifier is kept, on storage with the file (RFC 1813 3.3.8 advises
/// the times; SETATTR sets them right): 31 bits in the seconds of each, which every file system can
/// hold, and the highest bit of each half as half a second. A file system that keeps whole seconds
/// alone (ext4 with inodes of 128 bytes) does not have these two bits, and one of two seconds (FAT)
/// has the lowest of each half no more either: verifiers that differ in these alone are one there.
fn verifier_times(verifier: [u8; 8], step_ns: u64) -> (Timestamp, Timestamp) {
    const SECOND_NS: u64 = 1_000_000_000;
    const HIGHEST: u32 = 1 << 31;
    let [a, b, c, d, e, f, g, h] = verifier;
    let time = |bytes| {
        let bits = u32::from_be_bytes(bytes);
        let lost = if step_ns > SECOND_NS { 1 } else { 0 };
        let half = bits & HIGHEST != 0 && step_ns <= SECOND_NS / 2;
        Timestamp {
            seconds: i64::from(bits & !HIGHEST & !lost),
            nanoseconds: if half { 500_000_000 } else { 0 },
        }
    };
    (time([a, b, c, d]), time([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bits_of_a_verifier_count_where_the_file_system_keeps_them() {
        let times = |bits: u64, step_ns| verifier_times(bits.to_be_bytes(), step_ns);
        for (step_ns, lost) in [(1, 0), (10_000_000, 0), (1_000_000_000, 2), (2_000_000_000, 4)] {
            let same = (0..64).filter(|bit| times(1 << bit, step_ns) == times(0, step_ns)).count();
            assert_eq!(same, lost, "{step_ns} ns");
        }
    }
}
