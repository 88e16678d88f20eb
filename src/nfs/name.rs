//! Names in directories: LOOKUP, REMOVE, RMDIR, RENAME, LINK, and what a name may be.

use cleat_rpc::Writer;

use super::Request;
use super::args::{Link, Rename};
use super::status::Status;
use super::wire::DirOp;
use crate::vfs::{Attributes, Wcc};

/// The longest name, in bytes (NAME_MAX of Linux). A file system may permit less, and says so.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// Whether bytes can be a name at all (RFC 1813 3.2): the empty name and characters that no
/// name here has are NFS3ERR_ACCES.
fn component(name: &[u8]) -> Result<(), Status> {
    if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Status::Acces);
    }
    if name.len() > NAME_BYTES_MAX { Err(Status::NameTooLong) } else { Ok(()) }
}

fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Whether a name can be given to something new: "." and ".." are taken in every directory.
pub(super) fn new_name(name: &[u8]) -> Result<(), Status> {
    component(name)?;
    if is_dots(name) { Err(Status::Exist) } else { Ok(()) }
}

/// LOOKUP (RFC 1813 3.3.3), of "." and ".." too.
pub(super) fn lookup(request: &Request<'_>, args: DirOp<'_>) -> Writer {
    let mut dir_after = None;
    let found = try_lookup(request, args, &mut dir_after);
    request.answer(
        found,
        |writer, (handle, attributes)| {
            writer.opaque(&handle);
            writer.option(Some(&attributes));
            writer.option(dir_after.as_ref());
        },
        |writer| writer.option(dir_after.as_ref()),
    )
}

fn try_lookup(
    request: &Request<'_>,
    args: DirOp<'_>,
    dir_after: &mut Option<Attributes>,
) -> Result<(Vec<u8>, Attributes), Status> {
    let dir = request.target(args.dir)?;
    component(args.name)?;
    let (file, attributes) = dir.fs.lookup(&dir.who, &dir.file, args.name, dir_after)?;
    Ok((request.wire_handle(&dir, &file), attributes))
}

/// REMOVE (RFC 1813 3.3.12). "." and ".." are not to be removed by anyone.
pub(super) fn remove(request: &Request<'_>, args: DirOp<'_>) -> Writer {
    let mut wcc = Wcc::default();
    let removed = try_remove(request, args, &mut wcc);
    request.answer(removed, |writer, ()| writer.put(&wcc), |writer| writer.put(&wcc))
}

fn try_remove(request: &Request<'_>, args: DirOp<'_>, wcc: &mut Wcc) -> Result<(), Status> {
    let dir = request.writable(args.dir)?;
    component(args.name)?;
    if is_dots(args.name) {
        return Err(Status::Acces);
    }
    Ok(dir.fs.remove(&dir.who, &dir.file, args.name, wcc)?)
}

/// RMDIR (RFC 1813 3.3.13, which gives "." NFS3ERR_INVAL and ".." NFS3ERR_EXIST).
pub(super) fn rmdir(request: &Request<'_>, args: DirOp<'_>) -> Writer {
    let mut wcc = Wcc::default();
    let removed = try_rmdir(request, args, &mut wcc);
    request.answer(removed, |writer, ()| writer.put(&wcc), |writer| writer.put(&wcc))
}

fn try_rmdir(request: &Request<'_>, args: DirOp<'_>, wcc: &mut Wcc) -> Result<(), Status> {
    let dir = request.writable(args.dir)?;
    component(args.name)?;
    match args.name {
        b"." => Err(Status::Inval),
        b".." => Err(Status::Exist),
        name => Ok(dir.fs.remove_dir(&dir.who, &dir.file, name, wcc)?),
    }
}

/// RENAME (RFC 1813 3.3.14, which gives "." and ".." NFS3ERR_INVAL). Exports are different file
/// systems to their clients, whatever lies beneath: from one to another is NFS3ERR_XDEV.
pub(super) fn rename(request: &Request<'_>, args: &Rename<'_>) -> Writer {
    let (mut from, mut to) = (Wcc::default(), Wcc::default());
    let renamed = try_rename(request, args, (&mut from, &mut to));
    let wccs = |writer: &mut Writer| {
        writer.put(&from);
        writer.put(&to);
    };
    request.answer(renamed, |writer, ()| wccs(writer), wccs)
}

fn try_rename(
    request: &Request<'_>,
    args: &Rename<'_>,
    wccs: (&mut Wcc, &mut Wcc),
) -> Result<(), Status> {
    let from = request.writable(args.from.dir)?;
    let to = request.writable(args.to.dir)?;
    if from.export != to.export {
        return Err(Status::XDev);
    }
    for name in [args.from.name, args.to.name] {
        component(name)?;
        if is_dots(name) {
            return Err(Status::Inval);
        }
    }
    let (old, new) = ((&from.file, args.from.name), (&to.file, args.to.name));
    Ok(from.fs.rename(&from.who, old, new, wccs)?)
}

/// LINK (RFC 1813 3.3.15).
pub(super) fn link(request: &Request<'_>, args: &Link<'_>) -> Writer {
    let (mut after, mut wcc) = (None, Wcc::default());
    let linked = try_link(request, args, &mut after, &mut wcc);
    let attributes = |writer: &mut Writer| {
        writer.option(after.as_ref());
        writer.put(&wcc);
    };
    request.answer(linked, |writer, ()| attributes(writer), attributes)
}

fn try_link(
    request: &Request<'_>,
    args: &Link<'_>,
    after: &mut Option<Attributes>,
    wcc: &mut Wcc,
) -> Result<(), Status> {
    let file = request.writable(args.file)?;
    let dir = request.writable(args.to.dir)?;
    if file.export != dir.export {
        return Err(Status::XDev);
    }
    new_name(args.to.name)?;
    Ok(dir.fs.link(&dir.who, &file.file, (&dir.file, args.to.name), after, wcc)?)
}
