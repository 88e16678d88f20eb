//! Every method, with handles of both sorts, as several users where the process may be others.

mod attributes;
mod data;
mod handles;
mod listing;
mod names;
mod permissions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cleat_mount::Identity;
use rustix::io::Errno;
use tempfile::TempDir;

use super::identity::tells_users_apart;
use super::*;
use crate::vfs::SetTime;

/// A directory and a file system on it that can be restarted.
struct Lab {
    dir: TempDir,
    table: Arc<MemoryHandleTable>,
    options: LocalOptions,
    fs: LocalFs,
}

impl Lab {
    fn new(handle_table: bool) -> Self {
        prepare_process();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("export")).unwrap();
        set_mode(&dir.path().join("export"), 0o777);
        let table = Arc::new(MemoryHandleTable::default());
        let options = LocalOptions { sync: false, handle_table };
        let fs = LocalFs::open(&dir.path().join("export"), table.clone(), options).unwrap();
        Self { dir, table, options, fs }
    }

    /// One whose handles the kernel makes; `None` where the process may not open such handles.
    fn with_kernel_handles() -> Option<Self> {
        let lab = Self::new(false);
        let by_table = lab.fs.uses_handle_table();
        if by_table {
            assert!(std::env::var_os("CI").is_none(), "CI is to run every test, and as root");
            eprintln!("not run: handles that the kernel makes need root");
        }
        (!by_table).then_some(lab)
    }

    /// The same file system in another instance of the server.
    fn restart(&mut self) {
        self.fs = LocalFs::open(&self.path(""), self.table.clone(), self.options).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("export").join(name)
    }

    fn create(&self, who: &Identity, name: &str, mode: u32) -> FileHandle {
        let root = self.fs.root();
        let how = CreateHow::Guarded(with_mode(mode));
        self.fs.create(who, &root, name.as_bytes(), how, &mut Wcc::default()).unwrap().0
    }

    fn make_dir(&self, who: &Identity, name: &str, mode: u32) -> FileHandle {
        let root = self.fs.root();
        let wcc = &mut Wcc::default();
        self.fs.make_dir(who, &root, name.as_bytes(), &with_mode(mode), wcc).unwrap().0
    }

    fn lookup(&self, who: &Identity, dir: &FileHandle, name: &str) -> Result<FileHandle> {
        Ok(self.fs.lookup(who, dir, name.as_bytes(), &mut None)?.0)
    }

    fn write(&self, who: &Identity, file: &FileHandle, data: &[u8]) -> Result<u32> {
        let wcc = &mut Wcc::default();
        Ok(self.fs.write(who, file, 0, data, Stability::Unstable, wcc)?.count)
    }

    fn read(&self, who: &Identity, file: &FileHandle) -> Result<Vec<u8>> {
        Ok(self.fs.read(who, file, 0, 1 << 20, &mut None)?.bytes.to_vec())
    }

    fn set(&self, who: &Identity, file: &FileHandle, set: &SetAttributes) -> Result<()> {
        self.fs.set_attributes(who, file, set, None, &mut Wcc::default())
    }

    fn rename(
        &self,
        who: &Identity,
        from: (&FileHandle, &str),
        to: (&FileHandle, &str),
    ) -> Result<()> {
        let wccs = (&mut Wcc::default(), &mut Wcc::default());
        self.fs.rename(who, (from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()), wccs)
    }

    fn remove(&self, who: &Identity, name: &str) -> Result<()> {
        self.fs.remove(who, &self.fs.root(), name.as_bytes(), &mut Wcc::default())
    }

    fn link(&self, who: &Identity, file: &FileHandle, name: &str) -> Result<()> {
        let root = self.fs.root();
        self.fs.link(who, file, (&root, name.as_bytes()), &mut None, &mut Wcc::default())
    }

    fn names(&self, who: &Identity, dir: &FileHandle) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let take = &mut |entry: Entry<'_>| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            true
        };
        let listing = self.fs.read_dir(who, dir, 0, [0; 8], take, &mut None)?;
        assert!(listing.eof);
        names.sort();
        Ok(names)
    }
}

/// Users of the tests. Where the process cannot be others, they are all the one who started it.
fn alice() -> Identity {
    Identity { uid: 4001, gid: 5001, gids: vec![5001, 5100] }
}

fn bob() -> Identity {
    Identity { uid: 4002, gid: 5002, gids: vec![5002] }
}

fn with_mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn os<T>(errno: Errno) -> Result<T> {
    Err(FsError::Os(errno))
}

/// Makes each function a test with kernel handles and one with the handle table.
macro_rules! with_both_handles {
    ($($name:ident),+ $(,)?) => {
        mod with_kernel_handles {
            $(#[test] fn $name() { super::Lab::with_kernel_handles().map_or((), super::$name) })+
        }
        mod with_handle_table {
            $(#[test] fn $name() { super::$name(super::Lab::new(true)) })+
        }
    };
}
use with_both_handles;
