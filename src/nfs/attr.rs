//! What a file is and who may use it: GETATTR, SETATTR, ACCESS.

use cleat_rpc::Writer;

use super::Request;
use super::args::{Access, SetAttr};
use super::status::Status;
use super::wire::Handle;
use crate::vfs::{
    ACCESS_DELETE, ACCESS_EXECUTE, ACCESS_EXTEND, ACCESS_LOOKUP, ACCESS_MODIFY, ACCESS_READ,
    AccessBits, Attributes, SetAttributes, SetTime, Wcc,
};

const ACCESS_CHANGES: AccessBits = ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE;
const ACCESS_ALL: AccessBits = ACCESS_READ | ACCESS_LOOKUP | ACCESS_EXECUTE | ACCESS_CHANGES;

/// GETATTR (RFC 1813 3.3.1). No permission is needed, but that of using the export.
pub(super) fn getattr(request: &Request<'_>, file: Handle<'_>) -> Writer {
    let attributes = request
        .target(file)
        .and_then(|target| target.fs.attributes(&target.file).map_err(Status::from));
    request.answer(attributes, |writer, attributes| writer.put(&attributes), |_| ())
}

/// SETATTR (RFC 1813 3.3.2), with its guard.
pub(super) fn setattr(request: &Request<'_>, args: &SetAttr<'_>) -> Writer {
    let mut wcc = Wcc::default();
    let set = try_setattr(request, args, &mut wcc);
    request.answer(set, |writer, ()| writer.put(&wcc), |writer| writer.put(&wcc))
}

fn try_setattr(request: &Request<'_>, args: &SetAttr<'_>, wcc: &mut Wcc) -> Result<(), Status> {
    let target = request.writable(args.file)?;
    check(&args.set)?;
    Ok(target.fs.set_attributes(&target.who, &target.file, &args.set, args.guard, wcc)?)
}

/// Refuses what a file system could only take for something else: a size that no file has
/// (NFS3ERR_FBIG), the uid and gid -1, which chown(2) takes for "leave it", and nanoseconds that
/// are none, some of which utimensat(2) takes for "now" or "leave it" (NFS3ERR_INVAL).
pub(super) fn check(set: &SetAttributes) -> Result<(), Status> {
    if set.size.is_some_and(|size| i64::try_from(size).is_err()) {
        return Err(Status::FBig);
    }
    let time_is_none =
        |time| matches!(time, SetTime::To(time) if time.nanoseconds >= 1_000_000_000);
    let nobody = |id: Option<u32>| id == Some(u32::MAX);
    if nobody(set.uid)
        || nobody(set.gid)
        || time_is_none(set.accessed)
        || time_is_none(set.modified)
    {
        return Err(Status::Inval);
    }
    Ok(())
}

/// ACCESS (RFC 1813 3.3.4). On a read-only export nobody may change anything.
pub(super) fn access(request: &Request<'_>, args: Access<'_>) -> Writer {
    let mut after = None;
    let granted = try_access(request, args, &mut after);
    request.answer(
        granted,
        |writer, granted| {
            writer.option(after.as_ref());
            writer.u32(granted);
        },
        |writer| writer.option(after.as_ref()),
    )
}

fn try_access(
    request: &Request<'_>,
    args: Access<'_>,
    after: &mut Option<Attributes>,
) -> Result<AccessBits, Status> {
    let target = request.target(args.file)?;
    let allowed = if target.read_only { ACCESS_ALL & !ACCESS_CHANGES } else { ACCESS_ALL };
    let wanted = args.wanted & allowed;
    Ok(target.fs.access(&target.who, &target.file, wanted, after)? & wanted)
}
