//! A file system that answers what it was told to, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cleat_mount::Identity;
use rustix::io::Errno;

use super::super::Handles;
use super::VERIFIER;
use crate::disk::Disk;
use crate::exports::{Refusal, Target};
use crate::rpc_server::Call;
use crate::vfs::{
    AccessBits, Attributes, CreateHow, Data, Entry, FileHandle, FileIdentity, FileSystem, FsError,
    FsLimits, FsStat, Kind, Listing, Node, Result, SetAttributes, Stability, Timestamp, Wcc,
    Written,
};

/// As whom every call must come.
pub fn caller() -> Identity {
    Identity { uid: 1000, gid: 100, gids: vec![4, 24] }
}

/// Handles whose first byte says what becomes of them: `w` a writable export, `x` another,
/// `r` a read-only one, `s` stale, `d` denied; what follows is the file's.
pub struct FakeHandles {
    pub fs: Arc<Fake>,
    pub disk: Disk,
}

impl Handles for FakeHandles {
    fn resolve(&self, handle: &[u8], _: &Call) -> std::result::Result<Target, Refusal> {
        let (kind, file) = handle.split_first().ok_or(Refusal::BadHandle)?;
        let export = match kind {
            b'w' => 0,
            b'x' => 1,
            b'r' => 2,
            b's' => return Err(Refusal::Stale),
            b'd' => return Err(Refusal::Access),
            _ => return Err(Refusal::BadHandle),
        };
        Ok(Target {
            fs: Arc::<Fake>::clone(&self.fs),
            file: FileHandle(file.into()),
            who: caller(),
            read_only: export == 2,
            insecure_locks: false,
            export,
        })
    }

    fn wire_handle(&self, beside: &Target, file: &FileHandle) -> Vec<u8> {
        let kind = [b"w", b"x", b"r"][beside.export];
        [&kind[..], &file.0].concat()
    }

    fn disk(&self, _: &[u8]) -> Option<&Disk> {
        Some(&self.disk)
    }
}

pub struct Fake {
    pub attributes: Attributes,
    /// What every call fails with.
    pub error: Option<FsError>,
    /// Whether calls know the attributes around them.
    pub known: bool,
    pub content: Bytes,
    /// File number, name and cookie.
    pub entries: Vec<(u64, Vec<u8>, u64)>,
    /// The bytes of the handles that are found.
    pub handle_bytes: usize,
    pub panics: bool,
    pub asked: Mutex<Vec<String>>,
}

impl Default for Fake {
    fn default() -> Self {
        let time = |seconds| Timestamp { seconds, nanoseconds: 7 };
        let attributes = Attributes {
            kind: Kind::Regular,
            mode: 0o640,
            links: 2,
            uid: 1000,
            gid: 100,
            size: 5,
            used: 4096,
            device: (8, 1),
            fsid: 99,
            fileid: 12,
            accessed: time(1),
            modified: time(2),
            changed: time(3),
        };
        Self {
            attributes,
            error: None,
            known: true,
            content: Bytes::from_static(b"hello"),
            entries: Vec::new(),
            handle_bytes: 12,
            panics: false,
            asked: Mutex::default(),
        }
    }
}

impl Fake {
    pub fn failing(error: impl Into<FsError>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// What was asked, and forgets it.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    fn ask<T>(&self, who: &Identity, what: String, answer: T) -> Result<T> {
        assert!(!self.panics, "told to");
        assert_eq!(*who, caller());
        self.asked.lock().expect("no panic").push(what);
        self.error.map_or(Ok(answer), Err)
    }

    fn after(&self) -> Option<Attributes> {
        self.known.then_some(self.attributes)
    }

    fn wcc(&self) -> Wcc {
        Wcc { before: self.after(), after: self.after() }
    }

    fn found(&self) -> (FileHandle, Attributes) {
        (FileHandle(vec![9; self.handle_bytes].into()), self.attributes)
    }
}

/// A name as text.
fn text(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

impl FileSystem for Fake {
    fn root(&self) -> FileHandle {
        FileHandle(Box::default())
    }

    fn identity(&self, file: &FileHandle) -> Result<FileIdentity> {
        Ok(FileIdentity(file.0.clone()))
    }

    fn attributes(&self, _: &FileHandle) -> Result<Attributes> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.attributes),
        }
    }

    fn set_attributes(
        &self,
        who: &Identity,
        _: &FileHandle,
        set: &SetAttributes,
        guard: Option<Timestamp>,
        wcc: &mut Wcc,
    ) -> Result<()> {
        *wcc = self.wcc();
        self.ask(who, format!("setattr {set:?} {guard:?}"), ())
    }

    fn lookup(
        &self,
        who: &Identity,
        _: &FileHandle,
        name: &[u8],
        dir_after: &mut Option<Attributes>,
    ) -> Result<(FileHandle, Attributes)> {
        *dir_after = self.after();
        if name.starts_with(b"hidden") {
            return Err(Errno::ACCESS.into());
        }
        self.ask(who, format!("lookup {}", text(name)), self.found())
    }

    fn access(
        &self,
        who: &Identity,
        _: &FileHandle,
        wanted: AccessBits,
        after: &mut Option<Attributes>,
    ) -> Result<AccessBits> {
        *after = self.after();
        self.ask(who, format!("access {wanted:#x}"), wanted)
    }

    fn read_link(
        &self,
        who: &Identity,
        _: &FileHandle,
        after: &mut Option<Attributes>,
    ) -> Result<Vec<u8>> {
        *after = self.after();
        self.ask(who, "readlink".into(), self.content.to_vec())
    }

    fn read(
        &self,
        who: &Identity,
        _: &FileHandle,
        offset: u64,
        count: u32,
        after: &mut Option<Attributes>,
    ) -> Result<Data> {
        *after = self.after();
        let start = usize::try_from(offset).map_or(usize::MAX, |o| o).min(self.content.len());
        let end = (start + count as usize).min(self.content.len());
        let data = Data { bytes: self.content.slice(start..end), eof: end == self.content.len() };
        self.ask(who, format!("read {offset} {count}"), data)
    }

    fn write(
        &self,
        who: &Identity,
        _: &FileHandle,
        offset: u64,
        data: &[u8],
        stability: Stability,
        wcc: &mut Wcc,
    ) -> Result<Written> {
        *wcc = self.wcc();
        let count = u32::try_from(data.len()).expect("short");
        self.ask(
            who,
            format!("write {offset} {count} {stability:?}"),
            Written { count, stability, verifier: VERIFIER },
        )
    }

    fn commit(
        &self,
        who: &Identity,
        _: &FileHandle,
        offset: u64,
        count: u32,
        wcc: &mut Wcc,
    ) -> Result<[u8; 8]> {
        *wcc = self.wcc();
        self.ask(who, format!("commit {offset} {count}"), VERIFIER)
    }

    fn create(
        &self,
        who: &Identity,
        _: &FileHandle,
        name: &[u8],
        how: CreateHow,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        *dir_wcc = self.wcc();
        self.ask(who, format!("create {} {how:?}", text(name)), self.found())
    }

    fn make_dir(
        &self,
        who: &Identity,
        _: &FileHandle,
        name: &[u8],
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        *dir_wcc = self.wcc();
        self.ask(who, format!("mkdir {} {set:?}", text(name)), self.found())
    }

    fn symlink(
        &self,
        who: &Identity,
        _: &FileHandle,
        name: &[u8],
        target: &[u8],
        set: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        *dir_wcc = self.wcc();
        let what = format!("symlink {} {} {:?}", text(name), text(target), set.mode);
        self.ask(who, what, self.found())
    }

    fn make_node(
        &self,
        who: &Identity,
        _: &FileHandle,
        name: &[u8],
        node: Node,
        _: &SetAttributes,
        dir_wcc: &mut Wcc,
    ) -> Result<(FileHandle, Attributes)> {
        *dir_wcc = self.wcc();
        self.ask(who, format!("mknod {} {node:?}", text(name)), self.found())
    }

    fn remove(&self, who: &Identity, _: &FileHandle, name: &[u8], wcc: &mut Wcc) -> Result<()> {
        *wcc = self.wcc();
        self.ask(who, format!("remove {}", text(name)), ())
    }

    fn remove_dir(&self, who: &Identity, _: &FileHandle, name: &[u8], wcc: &mut Wcc) -> Result<()> {
        *wcc = self.wcc();
        self.ask(who, format!("rmdir {}", text(name)), ())
    }

    fn rename(
        &self,
        who: &Identity,
        from: (&FileHandle, &[u8]),
        to: (&FileHandle, &[u8]),
        wccs: (&mut Wcc, &mut Wcc),
    ) -> Result<()> {
        (*wccs.0, *wccs.1) = (self.wcc(), self.wcc());
        self.ask(who, format!("rename {} {}", text(from.1), text(to.1)), ())
    }

    fn link(
        &self,
        who: &Identity,
        _: &FileHandle,
        to: (&FileHandle, &[u8]),
        after: &mut Option<Attributes>,
        dir_wcc: &mut Wcc,
    ) -> Result<()> {
        (*after, *dir_wcc) = (self.after(), self.wcc());
        self.ask(who, format!("link {}", text(to.1)), ())
    }

    fn read_dir(
        &self,
        who: &Identity,
        _: &FileHandle,
        cookie: u64,
        _: [u8; 8],
        take: &mut dyn FnMut(Entry<'_>) -> bool,
        after: &mut Option<Attributes>,
    ) -> Result<Listing> {
        *after = self.after();
        self.ask(who, format!("readdir {cookie}"), ())?;
        let rest = self.entries.iter().skip_while(|entry| cookie != 0 && entry.2 != cookie);
        let eof = rest
            .skip(usize::from(cookie != 0))
            .all(|(fileid, name, cookie)| take(Entry { fileid: *fileid, name, cookie: *cookie }));
        Ok(Listing { verifier: *b"cookies!", eof })
    }

    fn fs_stat(&self, who: &Identity, _: &FileHandle) -> Result<FsStat> {
        let stat = FsStat {
            total_bytes: 1,
            free_bytes: 2,
            available_bytes: 3,
            total_files: 4,
            free_files: 5,
            available_files: 6,
        };
        self.ask(who, "fsstat".into(), stat)
    }

    fn fs_limits(&self, _: &FileHandle) -> Result<FsLimits> {
        let limits = FsLimits {
            file_bytes_max: 1 << 44,
            time_step_ns: 2_000_000_001,
            links_max: 65000,
            name_bytes_max: 255,
            hard_links: true,
            symlinks: true,
            chown_restricted: true,
        };
        self.ask(&caller(), "limits".into(), limits)
    }
}
