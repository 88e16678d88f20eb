//! What makes a new object: CREATE, MKDIR, SYMLINK, MKNOD.

use cleat_rpc::Writer;

use super::Request;
use super::args::{Create, MakeDir, MakeNode, Symlink};
use super::attr::check;
use super::name::new_name;
use super::status::Status;
use super::wire::DirOp;
use crate::exports::Target;
use crate::vfs::{self, Attributes, CreateHow, FileHandle, SetAttributes, Wcc};

/// The longest content of a symbolic link, in bytes (PATH_MAX of Linux).
const PATH_BYTES_MAX: usize = 4096;

type Made = vfs::Result<(FileHandle, Attributes)>;

/// CREATE (RFC 1813 3.3.8). An EXCLUSIVE create sets no attributes.
pub(super) fn create(request: &Request<'_>, args: &Create<'_>) -> Writer {
    let checked = match &args.how {
        CreateHow::Unchecked(set) | CreateHow::Guarded(set) => check(set),
        CreateHow::Exclusive(_) => Ok(()),
    };
    make(request, args.at, checked, |dir, wcc| {
        dir.fs.create(&dir.who, &dir.file, args.at.name, args.how, wcc)
    })
}

/// MKDIR (RFC 1813 3.3.9). A directory's size is not the caller's to set.
pub(super) fn mkdir(request: &Request<'_>, args: &MakeDir<'_>) -> Writer {
    let set = SetAttributes { size: None, ..args.set };
    make(request, args.at, check(&set), |dir, wcc| {
        dir.fs.make_dir(&dir.who, &dir.file, args.at.name, &set, wcc)
    })
}

/// SYMLINK (RFC 1813 3.3.10). The link's mode and size are not the caller's to set.
pub(super) fn symlink(request: &Request<'_>, args: &Symlink<'_>) -> Writer {
    let set = SetAttributes { size: None, mode: None, ..args.set };
    let checked = check(&set).and_then(|()| check_path(args.target));
    make(request, args.at, checked, |dir, wcc| {
        dir.fs.symlink(&dir.who, &dir.file, args.at.name, args.target, &set, wcc)
    })
}

/// A link's content is the client's affair, but it is one string of some length, as symlink(2)
/// takes it.
fn check_path(path: &[u8]) -> Result<(), Status> {
    match path {
        [] => Err(Status::NoEnt),
        path if path.len() > PATH_BYTES_MAX => Err(Status::NameTooLong),
        path if path.contains(&0) => Err(Status::Inval),
        _ => Ok(()),
    }
}

/// MKNOD (RFC 1813 3.3.11). What has a procedure of its own is NFS3ERR_BADTYPE.
pub(super) fn mknod(request: &Request<'_>, args: &MakeNode<'_>) -> Writer {
    let (node, checked) = match args.what {
        Some((node, set)) => {
            let set = SetAttributes { size: None, ..set };
            (Some((node, set)), check(&set))
        }
        None => (None, Err(Status::BadType)),
    };
    make(request, args.at, checked, |dir, wcc| {
        let (node, set) = node.ok_or(vfs::FsError::BadType)?;
        dir.fs.make_node(&dir.who, &dir.file, args.at.name, node, &set, wcc)
    })
}

/// What the four have in common: the name to be made at `at` must be one, `checked` says whether
/// the other arguments will do, and `act` makes the object.
fn make(
    request: &Request<'_>,
    at: DirOp<'_>,
    checked: Result<(), Status>,
    act: impl FnOnce(&Target, &mut Wcc) -> Made,
) -> Writer {
    let mut wcc = Wcc::default();
    let made = try_make(request, at, checked, |dir| act(dir, &mut wcc));
    request.answer(
        made,
        |writer, (handle, attributes)| {
            writer.bool(true);
            writer.opaque(&handle);
            writer.option(Some(&attributes));
            writer.put(&wcc);
        },
        |writer| writer.put(&wcc),
    )
}

fn try_make(
    request: &Request<'_>,
    at: DirOp<'_>,
    checked: Result<(), Status>,
    act: impl FnOnce(&Target) -> Made,
) -> Result<(Vec<u8>, Attributes), Status> {
    let dir = request.writable(at.dir)?;
    new_name(at.name)?;
    checked?;
    let (file, attributes) = act(&dir)?;
    Ok((request.wire_handle(&dir, &file), attributes))
}
