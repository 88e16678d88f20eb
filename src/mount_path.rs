//! The way of a MNT below an export's directory: through symbolic links, and never out of it.

use std::collections::VecDeque;

use cleat_mount::Identity;
use cleat_mount::wire::MountError;
use rustix::io::Errno;

use crate::vfs::{FileHandle, FileSystem, FsError, Kind};

/// The most symbolic links on one way, as in path_resolution(7).
const LINKS_MAX: usize = 40;
/// The most names on one way, those of links included.
const NAMES_MAX: usize = 1024;

/// Walks from the root of a file system, which is the directory `export`, along a path below it, as
/// the server: what the caller may see of it, later calls judge. A symbolic link is followed where
/// it leads to something below the export: by a relative target, or by an absolute one that begins
/// with the export's own path. The end is a directory (RFC 1813 5.2.1, MNT3ERR_NOTDIR).
pub fn walk(fs: &dyn FileSystem, export: &[u8], path: &[u8]) -> Result<FileHandle, MountError> {
    let mut way = vec![fs.root()];
    let mut names = names_of(path);
    let (mut links, mut walked) = (0, 0);
    while let Some(name) = names.pop_front() {
        walked += 1;
        if walked > NAMES_MAX {
            return Err(MountError::NameTooLong);
        }
        if name == b".." {
            way.pop();
            if way.is_empty() {
                return Err(MountError::Acces);
            }
            continue;
        }
        let here = way.last().ok_or(MountError::Acces)?;
        let found = fs.lookup(&Identity::ROOT, here, &name, &mut None);
        let (file, attributes) = found.map_err(error)?;
        if attributes.kind != Kind::Symlink {
            way.push(file);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(MountError::Inval);
        }
        let target = fs.read_link(&Identity::ROOT, &file, &mut None).map_err(error)?;
        let mut further = match target.strip_prefix(b"/") {
            None => names_of(&target),
            Some(absolute) => {
                way.truncate(1);
                below(export, absolute).ok_or(MountError::Acces)?
            }
        };
        further.append(&mut names);
        names = further;
    }
    let end = way.pop().ok_or(MountError::Acces)?;
    // The root may be gone as well.
    match fs.attributes(&end).map_err(error)?.kind {
        Kind::Directory => Ok(end),
        _ => Err(MountError::NotDir),
    }
}

/// The names of a path without those that lead nowhere.
fn names_of(path: &[u8]) -> VecDeque<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/');
    names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
}

/// What is left of an absolute path behind the export's own; `None` where it leads elsewhere.
fn below(export: &[u8], absolute: &[u8]) -> Option<VecDeque<Vec<u8>>> {
    let (mut names, mut own) = (names_of(absolute), names_of(export));
    while let Some(name) = own.pop_front() {
        if names.pop_front()? != name {
            return None;
        }
    }
    Some(names)
}

fn error(error: FsError) -> MountError {
    match error {
        FsError::Os(Errno::NOENT) | FsError::Stale => MountError::NoEnt,
        FsError::Os(Errno::NOTDIR) => MountError::NotDir,
        FsError::Os(Errno::NAMETOOLONG) => MountError::NameTooLong,
        FsError::Os(Errno::ACCESS | Errno::PERM) => MountError::Acces,
        FsError::Os(_) => MountError::Io,
        _ => MountError::ServerFault,
    }
}
