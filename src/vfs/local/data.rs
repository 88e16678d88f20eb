//! READ, WRITE and COMMIT: bytes, and how far they are on their way to storage.

use std::io::IoSlice;
use std::os::fd::AsFd;

use bytes::Bytes;
use cleat_mount::Identity;
use rustix::io::{Errno, ReadWriteFlags};

use super::LocalFs;
use super::identity::{act_as, act_as_server};
use super::open::regular;
use crate::vfs::{Attributes, Data, FileHandle, Result, Stability, Wcc, Written};

/// The most bytes that one READ allocates, whatever was asked.
const READ_BYTES_MAX: usize = 4 << 20;
/// The last offset a file can have.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl LocalFs {
    /// READ (RFC 1813 3.3.6).
    pub(super) fn read_data(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        count: u32,
        after: &mut Option<Attributes>,
    ) -> Result<Data> {
        let node = self.resolve(file)?;
        *after = Some(node.stat.attributes);
        let fd = {
            let _acting = act_as(who)?;
            self.open_to_read(who, &node)?
        };
        // Past any offset there is nothing but the end of the file.
        let offset = offset.min(OFFSET_MAX);
        let room = usize::try_from(OFFSET_MAX - offset).unwrap_or(usize::MAX);
        let wanted = usize::try_from(count).unwrap_or(usize::MAX).min(READ_BYTES_MAX).min(room);
        let mut bytes = Vec::with_capacity(wanted);
        let ended = fill(&fd, &mut bytes, offset, wanted)?;
        let stat = self.stat(&fd)?.attributes;
        *after = Some(stat);
        let end = offset.saturating_add(bytes.len() as u64);
        Ok(Data { eof: ended || end >= stat.size, bytes: Bytes::from(bytes) })
    }

    /// WRITE (RFC 1813 3.3.7). The bytes are written as the caller, not only the file opened: who
    /// writes decides whether set-user-ID goes and whose quota is spent.
    pub(super) fn write_data(
        &self,
        who: &Identity,
        file: &FileHandle,
        offset: u64,
        data: &[u8],
        stability: Stability,
        wcc: &mut Wcc,
    ) -> Result<Written> {
        let changing = self.changes.begin(file);
        let node = self.resolve(file)?;
        let before = Some(node.stat.attributes);
        *wcc = Wcc { before, after: before };
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= OFFSET_MAX);
        end.ok_or(Errno::FBIG)?;
        let verifier = self.verifier.get();
        let _acting = act_as(who)?;
        let fd = self.open_to_write(who, &node)?;
        let written = if stability == Stability::Unstable {
            let file = self.files.hold(&node.stat, fd, &self.verifier);
            file.will_write();
            put(&file, data, offset, stability)
        } else {
            put(&fd, data, offset, stability)
        };
        wcc.after = self.after(&node);
        changing.judge(wcc);
        let count = u32::try_from(written?).map_err(|_| Errno::FBIG)?;
        Ok(Written { count, stability, verifier })
    }

    /// COMMIT (RFC 1813 3.3.21). The server does it for whoever asks: a writer who lost the right
    /// to write meanwhile must still learn whether the bytes are safe. The attributes go with the
    /// bytes, so that after a crash no mtime is older than the content that clients cached.
    pub(super) fn commit_data(&self, file: &FileHandle, wcc: &mut Wcc) -> Result<[u8; 8]> {
        let changing = self.changes.begin(file);
        let node = self.resolve(file)?;
        let before = Some(node.stat.attributes);
        *wcc = Wcc { before, after: before };
        regular(&node)?;
        let _server = act_as_server()?;
        let result = match self.files.get(&node.stat) {
            Some(file) => file.sync(&self.verifier),
            None => {
                let fd = self.reopen_to_sync(&node)?;
                self.files.sync_other(&node.stat, fd, &self.verifier)
            }
        };
        wcc.after = self.after(&node);
        changing.judge(wcc);
        result
    }
}

/// Reads until `wanted` bytes are there or the file ends, and tells whether it ended.
fn fill(fd: impl AsFd, bytes: &mut Vec<u8>, offset: u64, wanted: usize) -> Result<bool> {
    while bytes.len() < wanted {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(&fd, rustix::buffer::spare_capacity(bytes), at) {
            Ok(0) => return Ok(true),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) if bytes.is_empty() => return Err(errno.into()),
            Err(_) => return Ok(false),
        }
    }
    // A vector may have had more room than was asked for.
    bytes.truncate(wanted);
    Ok(false)
}

/// Writes all of `data`, or as much as went before an error.
fn put(fd: impl AsFd, data: &[u8], offset: u64, stability: Stability) -> Result<usize> {
    let flags = match stability {
        Stability::Unstable => ReadWriteFlags::empty(),
        Stability::DataSync => ReadWriteFlags::DSYNC,
        Stability::FileSync => ReadWriteFlags::SYNC,
    };
    let mut written = 0;
    let mut sync_after = false;
    while written < data.len() {
        let flags = if sync_after { ReadWriteFlags::empty() } else { flags };
        let rest = [IoSlice::new(&data[written..])];
        match rustix::io::pwritev2(&fd, &rest, offset + written as u64, flags) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) if !flags.is_empty() => sync_after = true,
            Err(errno) if written == 0 => return Err(errno.into()),
            Err(_) => break,
        }
    }
    match stability {
        Stability::DataSync if sync_after => rustix::fs::fdatasync(fd)?,
        Stability::FileSync if sync_after => rustix::fs::fsync(fd)?,
        _ => {}
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_with_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"0123456789").unwrap();
        let mut bytes = Vec::new();
        bytes.reserve_exact(20);
        assert_eq!(fill(&file, &mut bytes, 4, 20), Ok(true));
        assert_eq!(bytes, b"456789");
        let mut bytes = Vec::with_capacity(3);
        assert_eq!(fill(&file, &mut bytes, 0, 3), Ok(false));
        assert_eq!(bytes, b"012");
    }
}
