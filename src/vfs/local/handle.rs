//! Handles that the kernel makes and opens: no table, and they survive whatever the file does.
//!
//! Without the parent part, which name_to_handle_at(2) leaves out unless asked, a file has one
//! handle whatever its name and whichever export it is reached through.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{KERNEL_HANDLE, TABLE_HANDLE};
use crate::vfs::{FILE_HANDLE_BYTES_MAX, FileHandle, FsError, Result};

/// The most bytes of the kernel's part: two of ours go before it.
const KERNEL_BYTES_MAX: usize = FILE_HANDLE_BYTES_MAX - 2;
/// How often a handle is opened for which the kernel says it has no memory.
const OPEN_TRIES: usize = 64;

/// struct file_handle (open_by_handle_at(2)) with room for what we can carry.
#[repr(C)]
struct Raw {
    handle_bytes: u32,
    handle_type: i32,
    f_handle: [u8; KERNEL_BYTES_MAX],
}

/// What a file handle of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// The kernel's handle: its type and bytes.
    Kernel(u8, &'a [u8]),
    /// The number of a record in the table.
    Table(u64),
}

impl<'a> Named<'a> {
    pub(super) fn parse(handle: &'a FileHandle) -> Result<Self> {
        match &*handle.0 {
            [KERNEL_HANDLE, kind, bytes @ ..] if !bytes.is_empty() => {
                Ok(Self::Kernel(*kind, bytes))
            }
            [TABLE_HANDLE, bytes @ ..] => {
                let id = bytes.try_into().map_err(|_| FsError::BadHandle)?;
                Ok(Self::Table(u64::from_be_bytes(id)))
            }
            _ => Err(FsError::BadHandle),
        }
    }

    pub(super) fn of_table(id: u64) -> FileHandle {
        let mut bytes = vec![TABLE_HANDLE];
        bytes.extend(id.to_be_bytes());
        FileHandle(bytes.into())
    }
}

/// The kernel's handle of an open file; `Err(OVERFLOW)` where it is larger than ours can be.
pub(super) fn of(file: impl AsFd) -> std::result::Result<FileHandle, Errno> {
    let mut raw = Raw {
        handle_bytes: u32::try_from(KERNEL_BYTES_MAX).map_err(|_| Errno::OVERFLOW)?,
        handle_type: 0,
        f_handle: [0; KERNEL_BYTES_MAX],
    };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: the path is a C string, `raw` is a file_handle with handle_bytes bytes of room
    // behind its head, and `mount_id` is an int; all outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut raw,
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(last_errno());
    }
    let kind = u8::try_from(raw.handle_type).map_err(|_| Errno::OVERFLOW)?;
    let bytes = raw.f_handle.get(..raw.handle_bytes as usize).ok_or(Errno::OVERFLOW)?;
    let mut handle = Vec::with_capacity(2 + bytes.len());
    handle.extend([KERNEL_HANDLE, kind]);
    handle.extend(bytes);
    Ok(FileHandle(handle.into()))
}

/// Opens (O_PATH) what a kernel's handle names on the file system of `mount`. The thread must be
/// the server itself: this needs CAP_DAC_READ_SEARCH.
pub(super) fn open(mount: impl AsFd, kind: u8, bytes: &[u8]) -> Result<OwnedFd> {
    let mut raw = Raw {
        handle_bytes: u32::try_from(bytes.len()).map_err(|_| FsError::BadHandle)?,
        handle_type: i32::from(kind),
        f_handle: [0; KERNEL_BYTES_MAX],
    };
    raw.f_handle.get_mut(..bytes.len()).ok_or(FsError::BadHandle)?.copy_from_slice(bytes);
    // ext4 says that it has no memory where the inode's number is being given to a new file at this
    // moment: what the handle named is gone then, and the kernel says so once the new one is made.
    let (mut opened, mut tries) = (open_raw(&mount, &mut raw), 1);
    while matches!(opened, Err(Errno::NOMEM)) && tries < OPEN_TRIES {
        std::thread::yield_now();
        opened = open_raw(&mount, &mut raw);
        tries += 1;
    }
    opened.map_err(|errno| match errno {
        Errno::STALE | Errno::NOENT => FsError::Stale,
        Errno::INVAL => FsError::BadHandle,
        other => FsError::Os(other),
    })
}

fn open_raw(mount: impl AsFd, raw: &mut Raw) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // SAFETY: `raw` is a file_handle with handle_bytes bytes behind its head, and outlives the
    // call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_fd().as_raw_fd(),
            &raw mut *raw,
            flags.bits(),
        )
    };
    if result < 0 {
        return Err(last_errno());
    }
    let fd = i32::try_from(result).map_err(|_| Errno::BADF)?;
    // SAFETY: the call made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_handles_of_ours_parse() {
        let handle = |bytes: &[u8]| FileHandle(bytes.into());
        assert_eq!(Named::parse(&handle(&[1, 2, 3])), Ok(Named::Kernel(2, &[3])));
        assert_eq!(Named::parse(&Named::of_table(7)), Ok(Named::Table(7)));
        for bytes in [&[][..], &[1], &[1, 2], &[2], &[2, 0, 0, 0], &[2; 10], &[3, 1, 1]] {
            assert_eq!(Named::parse(&handle(bytes)), Err(FsError::BadHandle));
        }
    }
}
