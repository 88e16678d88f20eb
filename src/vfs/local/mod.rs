//! A directory of this machine as a file system to serve. Linux 5.8 or later.
//!
//! A call travels: its handle is opened by the server ([`open`](self), O_PATH), the thread becomes
//! the caller, the kernel does what is asked or refuses, and the thread becomes the server again.

mod attr;
mod changes;
mod data;
mod dir;
mod files;
mod fsid;
mod handle;
mod identity;
mod limits;
mod name;
mod open;
mod rename;
mod stat;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod whereabouts;

use std::collections::HashSet;
use std::hash::Hasher;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cleat_mount::Identity;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use siphasher::sip::SipHasher24;

pub use self::files::{IDLE, OPEN_FILES_MAX};
pub use self::fsid::Numbers;
pub use self::identity::{prepare_process, switches};
pub use self::table::{HANDLE_CACHE_RECORDS_MAX, HANDLE_NAMES_MAX, HandleTable, MemoryHandleTable};
use self::tree::Tree;
use super::{
    AccessBits, Attributes, CreateHow, Data, Entry, FileHandle, FileIdentity, FileSystem, FsError,
    FsLimits, FsStat, Kind, Listing, Node, Result, SetAttributes, Stability, Timestamp, Wcc,
    Whereabouts, WriteVerifier, Written,
};

/// The first byte of a handle that the kernel made, and of an identity taken from one.
const KERNEL_HANDLE: u8 = 1;
/// The first byte of a handle from the table, and of an identity of that sort.
const TABLE_HANDLE: u8 = 2;

/// How a directory is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// Whether changes of names and attributes reach storage before they are answered, as
    /// RFC 1813 1.3 asks. Without, a power failure may undo what a client was told is done.
    pub sync: bool,
    /// Whether handles are kept in the table even where the kernel makes them.
    pub handle_table: bool,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { sync: true, handle_table: false }
    }
}

/// Where handles come from.
enum Handles {
    /// name_to_handle_at(2).
    Kernel,
    /// A table, where the kernel or the file system makes none or we may not open them.
    Table(Box<Tree>),
}

/// A directory of this machine.
pub struct LocalFs {
    /// The directory, open for use: on its mount handles are opened. Where the server may make one it
    /// is in a mount of its own, in which nothing is mounted below.
    root: OwnedFd,
    /// The directory's path on this machine, without symbolic links.
    path: PathBuf,
    /// That mount, which is gone with this.
    mount: Option<OwnedFd>,
    root_dev: u64,
    root_ino: u64,
    root_handle: FileHandle,
    fsid: u64,
    born_changes: bool,
    time_step_ns: u64,
    handles: Handles,
    /// /proc/self/fd, by which an open file is opened again.
    descriptors: OwnedFd,
    files: files::OpenFiles,
    verifier: WriteVerifier,
    /// Held while a file's owner is lent a right.
    lending: Mutex<()>,
    changes: changes::Changes,
    options: LocalOptions,
}

impl LocalFs {
    /// Opens a directory. In `table` the handles are kept where the kernel makes none.
    pub fn open(
        path: &Path,
        table: Arc<dyn HandleTable>,
        options: LocalOptions,
    ) -> std::io::Result<Self> {
        let mut numbers = Numbers::new(Arc::clone(&table), HashSet::new());
        Self::open_beside(path, table, options, &mut numbers)
    }

    /// The same beside others, whose file systems are numbered together.
    pub fn open_beside(
        path: &Path,
        table: Arc<dyn HandleTable>,
        options: LocalOptions,
        numbers: &mut Numbers,
    ) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let seen = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let path = path.canonicalize()?;
        let mount = own_mount(&seen);
        let root = match &mount {
            Some(mount) => rustix::fs::openat(mount, ".", flags, Mode::empty())?,
            None => seen,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = rustix::fs::openat(CWD, "/proc/self/fd", flags, Mode::empty())?;
        let stat = stat::stat(&root).map_err(into_io)?;
        let kernel_handle = if options.handle_table { None } else { kernel_handle(&root) };
        let (root_handle, handles) = match kernel_handle {
            Some(handle) => (handle, Handles::Kernel),
            None => (
                handle::Named::of_table(table::ROOT_ID),
                Handles::Table(Box::new(Tree::new(table, prefix_of(&path)))),
            ),
        };
        let statfs = rustix::fs::fstatfs(&root)?;
        Ok(Self {
            root_dev: stat.dev,
            root_ino: stat.attributes.fileid,
            root_handle,
            fsid: numbers.number(&root, &path, &stat)?,
            born_changes: limits::born_changes(&statfs),
            time_step_ns: limits::time_step_ns(&statfs, stat.born.is_some()),
            handles,
            root,
            path,
            mount,
            descriptors,
            files: files::OpenFiles::default(),
            verifier: WriteVerifier::default(),
            lending: Mutex::default(),
            changes: changes::Changes::default(),
            options,
        })
    }

    /// Whether handles are kept in the table.
    #[must_use]
    pub fn uses_handle_table(&self) -> bool {
        matches!(self.handles, Handles::Table(_))
    }
}

/// A mount of a directory that nobody else sees, without what is mounted below it: there every
/// directory is the one of its own file system, as an NFS server without crossmnt shows it. `None`
/// where the server may not mount (CAP_SYS_ADMIN).
fn own_mount(root: &OwnedFd) -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(root, "", flags).ok()
}

/// The root's handle, where handles can be made and opened here.
fn kernel_handle(root: &OwnedFd) -> Option<FileHandle> {
    let handle = handle::of(root).ok()?;
    match handle::Named::parse(&handle) {
        Ok(handle::Named::Kernel(kind, bytes)) => handle::open(root, kind, bytes).ok()?,
        _ => return None,
    };
    Some(handle)
}

/// A tree's own part of the handle table: the same after a restart.
fn prefix_of(path: &Path) -> [u8; 8] {
    let mut hasher = SipHasher24::new();
    hasher.write(path.as_os_str().as_bytes());
    hasher.finish().to_be_bytes()
}

fn into_io(error: FsError) -> std::io::Error {
    match error {
        FsError::Os(errno) => errno.into(),
        other => std::io::Error::other(other),
    }
}

impl FileSystem for LocalFs {
    fn root(&self) -> FileHandle {
        self.root_handle.clone()
    }

    /// File system number and kernel handle, or file system number, inode number and time of
    /// birth where the kernel makes no handles. Two file systems with one number (a copy of a
    /// whole disk served beside it) share their identities; a btrfs subvolume that is reached both
    /// through its parent and as an export has two.
    fn identity(&self, file: &FileHandle) -> Result<FileIdentity> {
        match (&self.handles, handle::Named::parse(file)?) {
            (Handles::Table(tree), handle::Named::Table(id)) => {
                let inode = tree.inode_of(self, id)?.to_bytes();
                let bytes = [&self.fsid.to_be_bytes()[..], &[TABLE_HANDLE], &inode].concat();
                Ok(FileIdentity(bytes.into()))
            }
            _ => self.identity_at_once(file).ok_or(FsError::Stale),
        }
    }

    fn identity_at_once(&self, file: &FileHandle) -> Option<FileIdentity> {
        match (&self.handles, handle::Named::parse(file).ok()?) {
            (Handles::Kernel, handle::Named::Kernel(..)) => {
                Some(FileIdentity([&self.fsid.to_be_bytes()[..], &file.0].concat().into()))
            }
            _ => None,
        }
    }

    fn whereabouts(&self, identity: &FileIdentity) -> Option<Whereabouts> {
        self.find_path(identity)
    }

    fn identity_at(&self, path: &Path) -> Result<Option<FileIdentity>> {
        self.identify(path)
    }

    fn attributes(&self, file: &FileHandle) -> Result<Attributes> {
        Ok(self.resolve(file)?.stat.attributes)
    }

    fn set_attributes(
        &self,
        who: &Identity,
        file: &FileHandle,
        set: &SetAttributes,
        guard: Option<Timestamp>,
        wcc: &mut Wcc,
    ) -> Result<()> {
        self.change_attributes(who, file, set, guard, wcc)
    }

    fn lookup(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        dir_after: &mut Option<Attributes>,
    ) -> Result<(FileHandle, Attributes)> {
        self.find(who, dir, name, dir_after)
    }

    fn access(
        &self,
        who: &Identity,
        file: &FileHandle,
        wanted: AccessBits,
        after: &mut Option<Attributes>,
    ) -> Result<AccessBits> {
        let node = self.resolve(file)?;
        *after = Some(node.stat.attributes);
        self.rights(who, &node, wanted)
    }

    fn read_link(
        &self,
        _who: &Identity,
        file: &FileHandle,
        after: &mut Option<Attributes>,
    ) -> Result<Vec<u8>> {
        let node = self.resolve(file)?;
        *after = Some(node.stat.attributes);
        if node.stat.attributes.kind != Kind::Symlink {
            return Err(Errno::INVAL.into());
        }
        Ok(rustix::fs::readlinkat(&node, "", Vec::new())?.into_bytes())
    }

    fn read(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        count: u32,
        after: &mut Option<Attributes>,
    ) -> Result<Data> {
        self.read_data(who, file, offset, count, after)
    }

    fn write(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        data: &[u8],
        stability: Stability,
        wcc: &mut Wcc,
    ) -> Result<Written> {
        self.write_data(who, file, offset, data, stability, wcc)
    }

    fn commit(
        &self,
        _who: &Identity,
        file: &FileHandle,
        _offset: u64,
        _count: u32,
        wcc: &mut Wcc,
    ) -> Result<[u8; 8]> {
        self.commit_data(file, wcc)
    }

    fn create(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        how: CreateHow,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        self.in_dir(dir, dir_wcc, |dir| self.make_file(who, dir, name, how))
    }

    fn make_dir(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        self.in_dir(dir, dir_wcc, |dir| self.make_directory(who, dir, name, set))
    }

    fn symlink(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        target: &[u8],
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        self.in_dir(dir, dir_wcc, |dir| self.make_symlink(who, dir, name, target, set))
    }

    fn make_node(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        node: Node,
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        self.in_dir(dir, dir_wcc, |dir| self.make_special(who, dir, name, node, set))
    }

    fn remove(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        dir_wcc: &mut Wcc,
    ) -> Result<()> {
        self.in_dir(dir, dir_wcc, |dir| self.unlink(who, dir, name, AtFlags::empty()))
    }

    fn remove_dir(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        dir_wcc: &mut Wcc,
    ) -> Result<()> {
        self.in_dir(dir, dir_wcc, |dir| self.unlink(who, dir, name, AtFlags::REMOVEDIR))
    }

    fn rename(
        &self,
        who: &Identity,
        from: (&FileHandle, &[u8]),
        to: (&FileHandle, &[u8]),
        wccs: (&mut Wcc, &mut Wcc),
    ) -> Result<()> {
        rename::in_two_dirs(self, (from.0, to.0), wccs, |from_dir, to_dir| {
            self.move_name(who, (from_dir, from.1), (to_dir, to.1))
        })
    }

    fn link(
        &self,
        who: &Identity,
        file: &FileHandle,
        to: (&FileHandle, &[u8]),
        after: &mut Option<Attributes>,
        dir_wcc: &mut Wcc,
    ) -> Result<()> {
        self.in_dir(to.0, dir_wcc, |dir| self.add_name(who, file, dir, to.1, after))
    }

    fn read_dir(
        &self,
        who: &Identity,
        dir: &FileHandle,
        cookie: u64,
        verifier: [u8; 8],
        take: &mut dyn FnMut(Entry<'_>) -> bool,
        after: &mut Option<Attributes>,
    ) -> Result<Listing> {
        self.list(who, dir, (cookie, verifier), take, after)
    }

    fn fs_stat(&self, _who: &Identity, file: &FileHandle) -> Result<FsStat> {
        self.space(file)
    }

    fn fs_limits(&self, file: &FileHandle) -> Result<FsLimits> {
        self.limits(file)
    }

    fn tidy(&self) {
        if let Ok(_server) = identity::act_as_server() {
            self.files.tidy(&self.verifier, std::time::Instant::now());
        }
    }
}
