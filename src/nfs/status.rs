//! nfsstat3 (RFC 1813 2.6): the one place where a refusal becomes a number on the wire.

use rustix::io::Errno;

use super::procedure;
use crate::exports::Refusal;
use crate::vfs::FsError;

/// Why a procedure fails (RFC 1813 2.6, `nfsstat3` without NFS3_OK); the numbers go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// NFS3ERR_PERM: not the owner, or not the superuser.
    Perm = 1,
    /// NFS3ERR_NOENT: no such name.
    NoEnt = 2,
    /// NFS3ERR_IO: the disk failed.
    Io = 5,
    /// NFS3ERR_NXIO: no such device.
    Nxio = 6,
    /// NFS3ERR_ACCES: not permitted to this caller.
    Acces = 13,
    /// NFS3ERR_EXIST: the name is taken.
    Exist = 17,
    /// NFS3ERR_XDEV: a link or rename from one file system to another.
    XDev = 18,
    /// NFS3ERR_NODEV: no such device.
    NoDev = 19,
    /// NFS3ERR_NOTDIR: not a directory.
    NotDir = 20,
    /// NFS3ERR_ISDIR: a directory.
    IsDir = 21,
    /// NFS3ERR_INVAL: not a thing that this object does, or that anyone may ask.
    Inval = 22,
    /// NFS3ERR_FBIG: past the largest file.
    FBig = 27,
    /// NFS3ERR_NOSPC: the disk is full.
    NoSpc = 28,
    /// NFS3ERR_ROFS: a change to a read-only export or file system.
    Rofs = 30,
    /// NFS3ERR_MLINK: too many hard links.
    MLink = 31,
    /// NFS3ERR_NAMETOOLONG: a name or path that is too long.
    NameTooLong = 63,
    /// NFS3ERR_NOTEMPTY: a directory that is not empty.
    NotEmpty = 66,
    /// NFS3ERR_DQUOT: over quota.
    DQuot = 69,
    /// NFS3ERR_STALE: the file is gone.
    Stale = 70,
    /// NFS3ERR_REMOTE: too many levels of remote in the path.
    Remote = 71,
    /// NFS3ERR_BADHANDLE: never a handle of this server.
    BadHandle = 10001,
    /// NFS3ERR_NOT_SYNC: SETATTR's guard does not fit.
    NotSync = 10002,
    /// NFS3ERR_BAD_COOKIE: not a cookie of this directory.
    BadCookie = 10003,
    /// NFS3ERR_NOTSUPP: not supported here.
    NotSupp = 10004,
    /// NFS3ERR_TOOSMALL: not one directory entry fits into what the caller has room for.
    TooSmall = 10005,
    /// NFS3ERR_SERVERFAULT: the server is at fault.
    ServerFault = 10006,
    /// NFS3ERR_BADTYPE: MKNOD of a kind that it does not make.
    BadType = 10007,
    /// NFS3ERR_JUKEBOX: not now; the caller is to ask again.
    Jukebox = 10008,
}

impl Status {
    /// The status as this procedure may answer it. RFC 1813's lists of errors are "not intended
    /// to be the definitive statement" (3.3), so a code that tells the caller more than the
    /// list's nearest one is sent as it is. What is mended here are codes that come from how the
    /// file system went about it and would say something else to a client.
    #[must_use]
    pub fn within(self, procedure: u32) -> Self {
        use procedure::*;
        match (self, procedure) {
            // An object of the wrong kind: NFS3ERR_INVAL (RFC 1813 3.3.2, 3.3.5 to 3.3.7).
            (Self::IsDir, SETATTR | READLINK | READ | WRITE | COMMIT) => Self::Inval,
            // These name no file that is there but by its handle: what is not is a file that is gone.
            // Linux says ENOENT for the entries of a directory that was removed.
            (Self::NoEnt, GETATTR | SETATTR | ACCESS..=WRITE | LINK..=COMMIT) => Self::Stale,
            // Answers that a client can read from one procedure only.
            (Self::NotSync, SETATTR)
            | (Self::BadCookie | Self::TooSmall, READDIR | READDIRPLUS)
            | (Self::BadType, MKNOD) => self,
            (Self::NotSync | Self::BadCookie | Self::TooSmall | Self::BadType, _) => {
                Self::ServerFault
            }
            _ => self,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadHandle => Self::BadHandle,
            Refusal::Stale => Self::Stale,
            Refusal::Access => Self::Acces,
            Refusal::Hangs => Self::Jukebox,
        }
    }
}

impl From<FsError> for Status {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Os(errno) => errno.into(),
            FsError::Stale => Self::Stale,
            FsError::BadHandle => Self::BadHandle,
            FsError::BadCookie => Self::BadCookie,
            FsError::NotSync => Self::NotSync,
            FsError::BadType => Self::BadType,
        }
    }
}

impl From<Errno> for Status {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PERM => Self::Perm,
            Errno::NOENT => Self::NoEnt,
            Errno::NXIO => Self::Nxio,
            // In use as a mount point or as a running program, or encrypted with a key that is
            // not there: refused to this caller as to any other (knfsd says the same).
            Errno::ACCESS | Errno::BUSY | Errno::TXTBSY | Errno::NOKEY => Self::Acces,
            Errno::EXIST => Self::Exist,
            Errno::XDEV => Self::XDev,
            Errno::NODEV => Self::NoDev,
            Errno::NOTDIR => Self::NotDir,
            Errno::ISDIR => Self::IsDir,
            // A link where a link is not followed, a pipe or a socket where there is an offset,
            // a name in an encoding that the file system does not take.
            Errno::INVAL | Errno::LOOP | Errno::SPIPE | Errno::NOTBLK | Errno::ILSEQ => Self::Inval,
            Errno::DOM | Errno::RANGE => Self::Inval,
            Errno::FBIG | Errno::TOOBIG | Errno::OVERFLOW => Self::FBig,
            Errno::NOSPC => Self::NoSpc,
            Errno::ROFS => Self::Rofs,
            Errno::MLINK => Self::MLink,
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::DQUOT => Self::DQuot,
            Errno::STALE => Self::Stale,
            Errno::REMOTE => Self::Remote,
            Errno::OPNOTSUPP | Errno::NOSYS => Self::NotSupp,
            // What passes: the caller's kernel waits and asks again.
            Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT => Self::Jukebox,
            Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOBUFS => Self::Jukebox,
            // Mistakes of ours, never of the caller's.
            Errno::BADF | Errno::FAULT => Self::ServerFault,
            _ => Self::Io,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_or_over_quota_is_told_apart() {
        assert_eq!(Status::from(Errno::NOSPC) as u32, 28);
        assert_eq!(Status::from(Errno::DQUOT) as u32, 69);
        assert_eq!(Status::from(Errno::FBIG) as u32, 27);
    }

    #[test]
    fn what_passes_is_asked_again_and_what_is_unknown_is_an_io_error() {
        assert_eq!(Status::from(Errno::AGAIN) as u32, 10008);
        assert_eq!(Status::from(Errno::UCLEAN) as u32, 5);
    }

    #[test]
    fn the_listing_of_a_removed_directory_is_stale() {
        assert_eq!(Status::NoEnt.within(procedure::READDIR), Status::Stale);
        assert_eq!(Status::NoEnt.within(procedure::LOOKUP), Status::NoEnt);
    }

    #[test]
    fn codes_of_one_procedure_are_not_sent_by_another() {
        for status in [Status::NotSync, Status::BadCookie, Status::TooSmall, Status::BadType] {
            assert_eq!(status.within(procedure::REMOVE), Status::ServerFault);
        }
        assert_eq!(Status::NotSync.within(procedure::SETATTR), Status::NotSync);
        assert_eq!(Status::BadCookie.within(procedure::READDIRPLUS), Status::BadCookie);
        assert_eq!(Status::BadType.within(procedure::MKNOD), Status::BadType);
    }
}
