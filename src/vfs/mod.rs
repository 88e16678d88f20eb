//! What the NFS procedures need of a file system, whatever is behind it.
//!
//! Calls block. They run with no await between them, on threads that may block, and each is
//! judged as the [`Identity`] that it is given.

#[cfg(target_os = "linux")]
pub mod local;
mod verifier;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cleat_mount::Identity;
use rustix::io::Errno;

pub use self::verifier::WriteVerifier;

/// The most bytes of a file system's own handle: what NFSv3's 64 leave beside export and check.
pub const FILE_HANDLE_BYTES_MAX: usize = 46;

/// A file system's own name for a file: stable across restart and rename, and gone with the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileHandle(pub Box<[u8]>);

/// What locks are kept by: the same bytes for every handle, link and export of one file, and
/// after a restart. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileIdentity(pub Box<[u8]>);

impl FileIdentity {
    /// The number of the file system that the file is in, with which every identity begins.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.first_chunk().copied().map(u64::from_be_bytes)
    }
}

/// Where a file is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// At this path, among others perhaps.
    At(PathBuf),
    /// Nowhere any more; its last path, where that is known.
    Deleted(Option<PathBuf>),
    /// It is there, and none of its names is known at the moment.
    Nameless {
        /// Its device, as this boot numbers it.
        device: u64,
        /// Its inode.
        inode: u64,
    },
}

/// Why a file system refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// What the kernel said, or would have said.
    #[error("{0}")]
    Os(Errno),
    /// The handle was good once; its file is gone.
    #[error("the file is gone")]
    Stale,
    /// The handle never was one of this file system.
    #[error("not a handle of this file system")]
    BadHandle,
    /// A directory cookie or its verifier is not one that was given out.
    #[error("not a cookie of this directory")]
    BadCookie,
    /// SETATTR's guard: the file changed since the caller looked (RFC 1813 3.3.2).
    #[error("the file changed meanwhile")]
    NotSync,
    /// This kind of object cannot be made here (RFC 1813 3.3.11).
    #[error("no such kind of object here")]
    BadType,
}

impl From<Errno> for FsError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::STALE { Self::Stale } else { Self::Os(errno) }
    }
}

/// A file system call's answer.
pub type Result<T> = std::result::Result<T, FsError>;

/// The kinds of files (RFC 1813 2.5, `ftype3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
}

/// A time since 1970-01-01 UTC as the file system has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds past the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// A file's attributes (RFC 1813 2.5, `fattr3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// The permission bits, 0o7777 at most.
    pub mode: u32,
    /// Hard links.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// The size in bytes.
    pub size: u64,
    /// The disk space in bytes.
    pub used: u64,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// The file system's number.
    pub fsid: u64,
    /// The file's number within it.
    pub fileid: u64,
    /// The last access.
    pub accessed: Timestamp,
    /// The last change of content.
    pub modified: Timestamp,
    /// The last change of attributes.
    pub changed: Timestamp,
}

/// Weak cache consistency data (RFC 1813 2.6): what was there right before and after a change.
/// Filled in as far as it is known, also where the call fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wcc {
    /// Before.
    pub before: Option<Attributes>,
    /// After.
    pub after: Option<Attributes>,
}

/// How SETATTR sets a time (RFC 1813 2.6, `time_how`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The server's clock.
    Now,
    /// The caller's value.
    To(Timestamp),
}

/// What SETATTR and the creating procedures set (RFC 1813 2.6, `sattr3`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// The permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The owner's group.
    pub gid: Option<u32>,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The last access.
    pub accessed: SetTime,
    /// The last change of content.
    pub modified: SetTime,
}

/// How much of a write is on stable storage (RFC 1813 3.3.7, `stable_how`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// Nothing is promised until COMMIT.
    Unstable,
    /// The data, and what is needed to read it back.
    DataSync,
    /// The data and every attribute.
    FileSync,
}

/// How CREATE treats a name that exists (RFC 1813 3.3.8, `createmode3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateHow {
    /// Use what is there; of the attributes only a size of 0 applies to it.
    Unchecked(SetAttributes),
    /// Refuse with EEXIST.
    Guarded(SetAttributes),
    /// Refuse unless it was made with the same verifier, which is kept on stable storage.
    Exclusive([u8; 8]),
}

/// What MKNOD makes (RFC 1813 3.3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A character device of this major and minor number.
    Character(u32, u32),
    /// A block device of this major and minor number.
    Block(u32, u32),
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
}

/// Rights that ACCESS asks about (RFC 1813 3.3.4): an OR of its ACCESS3_ bits.
pub type AccessBits = u32;
/// ACCESS3_READ.
pub const ACCESS_READ: AccessBits = 0x01;
/// ACCESS3_LOOKUP.
pub const ACCESS_LOOKUP: AccessBits = 0x02;
/// ACCESS3_MODIFY.
pub const ACCESS_MODIFY: AccessBits = 0x04;
/// ACCESS3_EXTEND.
pub const ACCESS_EXTEND: AccessBits = 0x08;
/// ACCESS3_DELETE.
pub const ACCESS_DELETE: AccessBits = 0x10;
/// ACCESS3_EXECUTE.
pub const ACCESS_EXECUTE: AccessBits = 0x20;

/// What WRITE did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// How many bytes.
    pub count: u32,
    /// How far they are on their way to storage.
    pub stability: Stability,
    /// The write verifier, as it was before they were written.
    pub verifier: [u8; 8],
}

/// What READ brings.
#[derive(Debug, Clone)]
pub struct Data {
    /// The bytes, fewer than asked only at the end of the file.
    pub bytes: Bytes,
    /// Whether they reach the end of the file.
    pub eof: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The file's number.
    pub fileid: u64,
    /// Its name; "." and ".." are among them.
    pub name: &'a [u8],
    /// Where to go on after this entry; stays good while other entries come and go.
    pub cookie: u64,
}

/// Where a directory listing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// To be sent back with a cookie (RFC 1813 3.3.16, `cookieverf3`).
    pub verifier: [u8; 8],
    /// Whether the last entry was seen and taken.
    pub eof: bool,
}

/// Space and files (RFC 1813 3.3.18), in bytes and in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsStat {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes that the caller may use.
    pub available_bytes: u64,
    /// File slots.
    pub total_files: u64,
    /// Free file slots.
    pub free_files: u64,
    /// Free file slots that the caller may use.
    pub available_files: u64,
}

/// What does not change (RFC 1813 3.3.19 and 3.3.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsLimits {
    /// The largest file in bytes.
    pub file_bytes_max: u64,
    /// The finest step of a time that SETATTR can set, in nanoseconds.
    pub time_step_ns: u64,
    /// The most hard links to a file.
    pub links_max: u32,
    /// The longest name in bytes.
    pub name_bytes_max: u32,
    /// Whether hard links can be made.
    pub hard_links: bool,
    /// Whether symbolic links can be made.
    pub symlinks: bool,
    /// Whether a change of owner is for the superuser alone.
    pub chown_restricted: bool,
}

/// A tree of files. Names are single components: never empty, never with '/' or NUL in them,
/// and never "." or ".." except in [`FileSystem::lookup`]; the caller has seen to that. The
/// root's ".." is the root. Where an argument is `&mut Option<Attributes>` or `&mut Wcc`, it is
/// filled in with the named file's attributes as far as known, also where the call fails.
///
/// Every method may answer `Stale` or `BadHandle`, and any error of the system call it stands for.
pub trait FileSystem: Send + Sync {
    /// The handle of the tree's root.
    fn root(&self) -> FileHandle;

    /// What locks on this file are kept by. Where handles say it by themselves it is answered
    /// for a removed file too, so that locks on it can still be given up.
    fn identity(&self, file: &FileHandle) -> Result<FileIdentity>;

    /// The same where it is known without asking a disk, so that whoever asks must not wait.
    fn identity_at_once(&self, _file: &FileHandle) -> Option<FileIdentity> {
        None
    }

    /// Where the file of an identity is, for people; `None` where it is no file of this tree, or
    /// where nothing is known of it.
    fn whereabouts(&self, _identity: &FileIdentity) -> Option<Whereabouts> {
        None
    }

    /// The identity of the file at a path of this machine; `None` where that is not in this file
    /// system.
    fn identity_at(&self, _path: &Path) -> Result<Option<FileIdentity>> {
        Ok(None)
    }

    /// A file's attributes; nobody needs a permission for them.
    fn attributes(&self, file: &FileHandle) -> Result<Attributes>;

    /// Changes attributes, all or, where one is refused, as few as the system permits. With a
    /// `guard`, only if the file's ctime is that (else `NotSync`).
    fn set_attributes(
        &self,
        who: &Identity,
        file: &FileHandle,
        set: &SetAttributes,
        guard: Option<Timestamp>,
        wcc: &mut Wcc,
    ) -> Result<()>;

    /// Finds a name in a directory. Never follows a symbolic link.
    fn lookup(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        dir_after: &mut Option<Attributes>,
    ) -> Result<(FileHandle, Attributes)>;

    /// Those of the `wanted` rights that the caller has.
    fn access(
        &self,
        who: &Identity,
        file: &FileHandle,
        wanted: AccessBits,
        after: &mut Option<Attributes>,
    ) -> Result<AccessBits>;

    /// A symbolic link's content, at most 4096 bytes.
    fn read_link(
        &self,
        who: &Identity,
        file: &FileHandle,
        after: &mut Option<Attributes>,
    ) -> Result<Vec<u8>>;

    /// Up to `count` bytes from `offset`. The owner may always read, and who may execute may
    /// read (RFC 1813 4.4).
    fn read(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        count: u32,
        after: &mut Option<Attributes>,
    ) -> Result<Data>;

    /// Writes all of `data` at `offset`, to storage as far as `stability` asks. The owner may always
    /// write (RFC 1813 4.4).
    fn write(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        data: &[u8],
        stability: Stability,
        wcc: &mut Wcc,
    ) -> Result<Written>;

    /// Brings what was written to stable storage, at least `count` bytes from `offset` (0 = to
    /// the end of the file). Gives the write verifier: it is another than that of a WRITE before
    /// where what that wrote may be lost, whoever was told of the failure.
    fn commit(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        count: u32,
        wcc: &mut Wcc,
    ) -> Result<[u8; 8]>;

    /// Makes a regular file.
    fn create(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        how: CreateHow,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)>;

    /// Makes a directory.
    fn make_dir(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)>;

    /// Makes a symbolic link; of `set`, the mode means nothing.
    fn symlink(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        target: &[u8],
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)>;

    /// Makes a device, socket or named pipe.
    fn make_node(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        node: Node,
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)>;

    /// Removes a name that is not a directory's.
    fn remove(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        dir_wcc: &mut Wcc,
    ) -> Result<()>;

    /// Removes an empty directory.
    fn remove_dir(
        &self,
        who: &Identity,
        dir: &FileHandle,
        name: &[u8],
        dir_wcc: &mut Wcc,
    ) -> Result<()>;

    /// Renames, replacing what has the new name; `wccs` are those of the two directories.
    fn rename(
        &self,
        who: &Identity,
        from: (&FileHandle, &[u8]),
        to: (&FileHandle, &[u8]),
        wccs: (&mut Wcc, &mut Wcc),
    ) -> Result<()>;

    /// Gives a file one more name.
    fn link(
        &self,
        who: &Identity,
        file: &FileHandle,
        to: (&FileHandle, &[u8]),
        after: &mut Option<Attributes>,
        dir_wcc: &mut Wcc,
    ) -> Result<()>;

    /// Lists a directory from behind `cookie` (0 = from the start, and then `verifier` means
    /// nothing). Each entry is offered to `take`, which says whether it was taken; the first that
    /// is not taken ends the listing.
    fn read_dir(
        &self,
        who: &Identity,
        dir: &FileHandle,
        cookie: u64,
        verifier: [u8; 8],
        take: &mut dyn FnMut(Entry<'_>) -> bool,
        after: &mut Option<Attributes>,
    ) -> Result<Listing>;

    /// Space and files, as the caller may use them.
    fn fs_stat(&self, who: &Identity, file: &FileHandle) -> Result<FsStat>;

    /// The limits that hold at this file.
    fn fs_limits(&self, file: &FileHandle) -> Result<FsLimits>;

    /// Lets go of what is held for no use. Called every few seconds, on a thread that may block.
    fn tidy(&self) {}
}
