//! From a handle on the wire to a file, and whether this caller may use it.
//!
//! A handle is, in this order: one byte of version; 8 of the export's number, which is made of its
//! path and so outlives a restart and a reordered table; 8 of a keyed check over all the rest; and
//! what the file system names the file by. Nobody without the key makes a handle, or turns one of
//! an export that they may use into one of another.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::hash::Hasher;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cleat_mount::wire::MountError;
use cleat_mount::{Access, ExportTable, Identity};
use siphasher::sip::SipHasher24;
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::mount_path;
use crate::rpc_server::{Call, Work};
use crate::vfs::local::{HandleTable, LocalFs, LocalOptions, Numbers};
use crate::vfs::{
    FILE_HANDLE_BYTES_MAX, FileHandle, FileIdentity, FileSystem, FsError, Whereabouts,
};

/// The most bytes of a handle (RFC 1813 2.4, NFS3_FHSIZE).
const HANDLE_BYTES_MAX: usize = 64;
const HANDLE_VERSION: u8 = 1;
/// Where the export's number begins, and the check, and the file system's part.
const EXPORT_AT: usize = 1;
const CHECK_AT: usize = EXPORT_AT + 8;
const FILE_AT: usize = CHECK_AT + 8;
const _: () = assert!(FILE_AT + FILE_HANDLE_BYTES_MAX <= HANDLE_BYTES_MAX);

/// Why a handle is refused, mapped to nfsstat3 and nlm4_stats by whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes never were a handle of this server: NFS3ERR_BADHANDLE.
    BadHandle,
    /// The export or the file is gone: NFS3ERR_STALE.
    Stale,
    /// The caller may not use this export: NFS3ERR_ACCES.
    Access,
    /// The disk does not answer for now: NFS3ERR_JUKEBOX.
    Hangs,
}

/// A file, and what this caller may do with it.
#[derive(Clone)]
pub struct Target {
    /// Its file system.
    pub fs: Arc<dyn FileSystem>,
    /// The file.
    pub file: FileHandle,
    /// The caller after squashing.
    pub who: Identity,
    /// Whether the export is read-only for the caller.
    pub read_only: bool,
    /// Whether locks need no right to the file (`insecure_locks`).
    pub insecure_locks: bool,
    /// The number of the export in the table.
    pub export: usize,
}

/// Why the exports cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ExportsError {
    /// A directory cannot be opened.
    #[error("cannot export {path}: {error}")]
    Open {
        /// The directory.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Two paths make one number.
    #[error("cannot export {0} beside {1}: their handles would be the same; rename one of them")]
    SameNumber(String, String),
    /// There is not one file system for each export.
    #[error("{exports} exports, but {filesystems} file systems")]
    Uneven {
        /// Exports in the table.
        exports: usize,
        /// File systems given.
        filesystems: usize,
    },
}

/// How often file systems let go of what they hold for no use.
pub const TIDY: Duration = Duration::from_secs(5);

/// Starts a task for each export in which its file system lets go of what it holds for no use, until
/// `stop`. One whose disk hangs holds up no other.
pub fn keep_tidy(exports: &Exports, every: Duration, stop: &CancellationToken) {
    for (fs, disk) in exports.filesystems.iter().zip(&exports.disks) {
        let (fs, disk, stop) = (Arc::clone(fs), disk.clone(), stop.clone());
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
                let fs = Arc::clone(&fs);
                // Where the disk hangs, the next time will do.
                let _ = disk.run(Work::Files, move || fs.tidy()).await;
            }
        });
    }
}

/// The exports with their file systems, and the key that makes handles.
pub struct Exports {
    table: Arc<ExportTable>,
    /// By the export's place in the table, like the numbers.
    filesystems: Vec<Arc<dyn FileSystem>>,
    disks: Vec<Disk>,
    numbers: Vec<u64>,
    names: Vec<Arc<str>>,
    places: HashMap<u64, usize>,
    key: [u8; 16],
}

impl Exports {
    /// Opens every export of the table as a directory of this machine. `handles` keeps the
    /// handles where the kernel makes none; `recorded` are the numbers of the file systems of which
    /// locks are on record.
    pub fn open(
        table: Arc<ExportTable>,
        key: [u8; 16],
        handles: Arc<dyn HandleTable>,
        recorded: HashSet<u64>,
        options: LocalOptions,
    ) -> Result<Self, ExportsError> {
        let mut numbers = Numbers::new(Arc::clone(&handles), recorded);
        let mut open = |path: &[u8]| -> Result<Arc<dyn FileSystem>, ExportsError> {
            let (at, handles) = (OsStr::from_bytes(path).as_ref(), Arc::clone(&handles));
            match LocalFs::open_beside(at, handles, options, &mut numbers) {
                Ok(fs) => Ok(Arc::new(fs)),
                Err(error) => Err(ExportsError::Open { path: printable(path), error }),
            }
        };
        let filesystems = table.iter().map(|export| open(export.path())).collect::<Result<_, _>>();
        Self::new(table, filesystems?, key)
    }

    /// Whether a call may speak for its whole host: see [`ExportTable::speaks_for_host`].
    #[must_use]
    pub fn speaks_for_host(&self, peer: SocketAddr) -> bool {
        self.table.speaks_for_host(peer)
    }

    /// Whether a call may use any export: see [`ExportTable::admits`].
    #[must_use]
    pub fn admits(&self, peer: SocketAddr) -> bool {
        self.table.admits(peer)
    }

    /// These file systems, each as the export in the same place of the table.
    pub fn new(
        table: Arc<ExportTable>,
        filesystems: Vec<Arc<dyn FileSystem>>,
        key: [u8; 16],
    ) -> Result<Self, ExportsError> {
        if table.len() != filesystems.len() {
            let (exports, filesystems) = (table.len(), filesystems.len());
            return Err(ExportsError::Uneven { exports, filesystems });
        }
        let numbers: Vec<u64> = table.iter().map(|export| number_of(export.path())).collect();
        let mut places = HashMap::new();
        for (place, (number, export)) in numbers.iter().zip(table.iter()).enumerate() {
            if let Some(other) = places.insert(*number, place) {
                let other = table.get(other).map_or(&b""[..], |export| export.path());
                return Err(ExportsError::SameNumber(printable(export.path()), printable(other)));
            }
        }
        let names: Vec<Arc<str>> =
            table.iter().map(|export| printable(export.path()).into()).collect();
        let disks = names.iter().map(|name| Disk::new(Arc::clone(name))).collect();
        Ok(Self { table, filesystems, disks, numbers, names, places, key })
    }

    /// The disks behind the exports, by their numbers in the table.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The disk that a call with this handle may have to wait for; `None` where it waits for none,
    /// because the handle is no good.
    #[must_use]
    pub fn disk(&self, handle: &[u8]) -> Option<&Disk> {
        let (number, _) = self.open_handle(handle)?;
        self.disks.get(*self.places.get(&number)?)
    }

    /// What people know an export by: its path.
    #[must_use]
    pub fn name(&self, export: usize) -> Arc<str> {
        self.names.get(export).map_or_else(|| "".into(), Arc::clone)
    }

    /// Where the file is that locks know by these bytes, for people; `None` where no export knows
    /// it. It may block.
    #[must_use]
    pub fn whereabouts(&self, identity: &[u8]) -> Option<Whereabouts> {
        let identity = FileIdentity(identity.into());
        let mut known = None;
        for fs in &self.filesystems {
            match fs.whereabouts(&identity) {
                Some(at @ Whereabouts::At(_)) => return Some(at),
                other => known = known.or(other),
            }
        }
        known
    }

    /// What locks on the file at a path of this machine are kept by; `None` where it is in no
    /// export. It may block.
    pub fn identity_at(&self, path: &Path) -> Result<Option<FileIdentity>, FsError> {
        for fs in &self.filesystems {
            if let Some(identity) = fs.identity_at(path)? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    /// Judges a handle from the wire for this call. Whether its file is still there, the file
    /// system says.
    pub fn resolve(&self, handle: &[u8], call: &Call) -> Result<Target, Refusal> {
        let (number, file) = self.open_handle(handle).ok_or(Refusal::BadHandle)?;
        // It was of ours, but its export is served no more.
        let export = *self.places.get(&number).ok_or(Refusal::Stale)?;
        self.target(export, FileHandle(file.into()), call).ok_or(Refusal::Access)
    }

    /// The handle on the wire, at most 64 bytes, of a file in the same export as `beside`.
    #[must_use]
    pub fn wire_handle(&self, beside: &Target, file: &FileHandle) -> Vec<u8> {
        // The number of no export makes a handle that is stale.
        let number = self.numbers.get(beside.export).copied().unwrap_or_default();
        self.make_handle(number, &file.0)
    }

    /// MNT (RFC 1813 5.2.1): the handle of the directory at a path, where the caller may use the
    /// export that holds it. The way there goes through symbolic links, but never out of the export.
    pub fn mount_root(&self, path: &[u8], call: &Call) -> Result<Vec<u8>, MountError> {
        // Who may not use anything here is not told what exists.
        let (export, rest) = self.table.find(path).ok_or(MountError::Acces)?;
        let mut target =
            self.target(export, FileHandle([].into()), call).ok_or(MountError::Acces)?;
        let own = self.table.get(export).ok_or(MountError::Acces)?.path();
        target.file = mount_path::walk(&*target.fs, own, rest)?;
        Ok(self.wire_handle(&target, &target.file))
    }

    fn target(&self, export: usize, file: FileHandle, call: &Call) -> Option<Target> {
        let fs = Arc::clone(self.filesystems.get(export)?);
        let judged = self.table.judge(export, call.peer, &call.header.credential);
        let Access { identity, read_only, insecure_locks } = judged.ok()?;
        Some(Target { fs, file, who: identity, read_only, insecure_locks, export })
    }

    fn make_handle(&self, number: u64, file: &[u8]) -> Vec<u8> {
        let mut handle = Vec::with_capacity(FILE_AT + file.len());
        handle.push(HANDLE_VERSION);
        handle.extend(number.to_be_bytes());
        handle.extend(self.check(number, file));
        handle.extend(file);
        handle
    }

    /// The export's number and the file system's part of a handle that we made.
    fn open_handle<'a>(&self, handle: &'a [u8]) -> Option<(u64, &'a [u8])> {
        if handle.len() > HANDLE_BYTES_MAX || handle.first() != Some(&HANDLE_VERSION) {
            return None;
        }
        let number = u64::from_be_bytes(handle.get(EXPORT_AT..CHECK_AT)?.try_into().ok()?);
        let (check, file) = handle.get(CHECK_AT..)?.split_at_checked(FILE_AT - CHECK_AT)?;
        (check == self.check(number, file)).then_some((number, file))
    }

    fn check(&self, number: u64, file: &[u8]) -> [u8; 8] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&[HANDLE_VERSION]);
        hasher.write(&number.to_be_bytes());
        hasher.write(file);
        hasher.finish().to_be_bytes()
    }
}

/// An export's number in handles. Not a secret: the check is.
fn number_of(path: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(path);
    hasher.finish()
}

fn printable(path: &[u8]) -> String {
    PathBuf::from(OsStr::from_bytes(path)).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc_server::{Link, Transport};
    use crate::vfs::Kind;
    use crate::vfs::local::MemoryHandleTable;
    use cleat_mount::{ClientRule, Export, Options, Who};
    use cleat_rpc::{AuthSys, CallHeader, Credential};

    const KEY: [u8; 16] = *b"sixteen byte key";

    fn call(peer: &str) -> Call {
        let sys = AuthSys { uid: 0, gid: 0, ..AuthSys::default() };
        let credential = Credential::Sys(sys);
        Call {
            header: CallHeader { xid: 1, program: 100_003, version: 3, procedure: 1, credential },
            peer: peer.parse().unwrap(),
            local: "10.0.0.1:2049".parse().unwrap(),
            transport: Transport::Tcp,
            link: Link::default(),
            arguments: bytes::Bytes::new(),
        }
    }

    /// An export for everybody and one, read-only, for one host.
    fn exports(dir: &Path, key: [u8; 16]) -> Exports {
        exports_with(dir, key, Arc::new(MemoryHandleTable::default()))
    }

    fn exports_with(dir: &Path, key: [u8; 16], handles: Arc<dyn HandleTable>) -> Exports {
        let path = |name: &str| dir.join(name).into_os_string().into_encoded_bytes();
        for name in ["all", "one"] {
            std::fs::create_dir_all(dir.join(name).join("sub/deep")).unwrap();
        }
        let all = ClientRule::any_host(Options { read_only: false, ..Options::default() });
        let options = Options { read_only: true, ..Options::default() };
        let one = ClientRule { who: Who::parse("10.0.0.9").unwrap(), options };
        let table = ExportTable::new(vec![
            Export::new(&path("all"), vec![all]).unwrap(),
            Export::new(&path("one"), vec![one]).unwrap(),
        ]);
        Exports::open(
            Arc::new(table.unwrap()),
            key,
            handles,
            HashSet::new(),
            LocalOptions::default(),
        )
        .unwrap()
    }

    fn path(dir: &Path, rest: &str) -> Vec<u8> {
        dir.join(rest).into_os_string().into_encoded_bytes()
    }

    #[test]
    fn a_mounted_handle_resolves_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let caller = call("10.0.0.7:700");
        let handles = Arc::new(MemoryHandleTable::default());
        let before = exports_with(dir.path(), KEY, handles.clone());
        let handle = before.mount_root(&path(dir.path(), "all/sub"), &caller).unwrap();
        assert!(handle.len() <= HANDLE_BYTES_MAX);
        let exports = exports_with(dir.path(), KEY, handles);
        let target = exports.resolve(&handle, &caller).ok().unwrap();
        assert_eq!((target.export, target.read_only), (0, false));
        assert_eq!(target.who.uid, 65534);
        assert_eq!(target.fs.attributes(&target.file).unwrap().kind, Kind::Directory);
        assert_eq!(exports.wire_handle(&target, &target.file), handle);
    }

    #[test]
    fn each_call_is_judged_by_the_export_table() {
        let dir = tempfile::tempdir().unwrap();
        let exports = exports(dir.path(), KEY);
        let (host, stranger) = (call("10.0.0.9:700"), call("10.0.0.7:700"));
        let one = path(dir.path(), "one");
        let handle = exports.mount_root(&one, &host).unwrap();
        assert!(exports.resolve(&handle, &host).ok().unwrap().read_only);
        assert_eq!(exports.resolve(&handle, &stranger).err(), Some(Refusal::Access));
        assert_eq!(exports.mount_root(&one, &stranger), Err(MountError::Acces));
        let missing = path(dir.path(), "one/missing");
        assert_eq!(exports.mount_root(&missing, &stranger), Err(MountError::Acces));
        assert_eq!(exports.mount_root(&missing, &host), Err(MountError::NoEnt));
    }

    #[test]
    fn no_handle_can_be_made_up_or_moved_to_another_export() {
        let dir = tempfile::tempdir().unwrap();
        let exports = exports(dir.path(), KEY);
        let host = call("10.0.0.9:700");
        let handle = exports.mount_root(&path(dir.path(), "all/sub"), &host).unwrap();
        let other = exports.mount_root(&path(dir.path(), "one"), &host).unwrap();
        let refused = |bytes: &[u8]| exports.resolve(bytes, &host).err();
        for at in 0..handle.len() {
            let mut changed = handle.clone();
            changed[at] ^= 1;
            assert_eq!(refused(&changed), Some(Refusal::BadHandle), "byte {at}");
            assert_eq!(refused(&handle[..at]), Some(Refusal::BadHandle), "cut at {at}");
        }
        let moved = [&other[..FILE_AT], &handle[FILE_AT..]].concat();
        assert_eq!(refused(&moved), Some(Refusal::BadHandle));
        assert_eq!(refused(&[handle.clone(), vec![0; 64]].concat()), Some(Refusal::BadHandle));
        let elsewhere = self::exports(dir.path(), [7; 16]);
        assert_eq!(elsewhere.resolve(&handle, &host).err(), Some(Refusal::BadHandle));
    }

    #[test]
    fn a_handle_of_an_export_that_is_gone_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let exports = exports(dir.path(), KEY);
        let handle = exports.make_handle(number_of(b"/gone"), b"file");
        assert_eq!(exports.resolve(&handle, &call("10.0.0.9:700")).err(), Some(Refusal::Stale));
    }

    #[test]
    fn a_mount_never_leaves_the_export() {
        let dir = tempfile::tempdir().unwrap();
        let exports = exports(dir.path(), KEY);
        let caller = call("10.0.0.7:700");
        let all = dir.path().join("all");
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, all.join(name)).unwrap();
        };
        link(Path::new("/"), "out");
        link(Path::new("../one"), "beside");
        link(Path::new("sub"), "in");
        link(&all.join("sub"), "absolute");
        link(Path::new("sub/../in/./deep/.."), "around");
        link(Path::new("loop"), "loop");
        std::fs::write(all.join("file"), b"").unwrap();
        let mount = |rest: &str| exports.mount_root(&path(dir.path(), rest), &caller);
        for outside in ["all/out", "all/out/etc", "all/beside", "all/..", "all/sub/../..", "allx"] {
            assert_eq!(mount(outside), Err(MountError::Acces), "{outside}");
        }
        let deep = mount("all/sub/deep");
        assert!(deep.is_ok());
        for way in ["all//sub/./deep/", "all/in/deep", "all/absolute/deep", "all/around/deep"] {
            assert_eq!(mount(way), deep, "{way}");
        }
        assert_eq!(mount("all/loop"), Err(MountError::Inval));
        assert_eq!(mount("all/file"), Err(MountError::NotDir));
        assert_eq!(mount("all/file/x"), Err(MountError::NotDir));
        let long = format!("all/{}", "n".repeat(256));
        assert_eq!(mount(&long), Err(MountError::NameTooLong));
    }
}
