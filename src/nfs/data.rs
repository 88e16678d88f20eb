//! A file's content: READLINK, READ, WRITE, COMMIT.

use cleat_rpc::Writer;

use super::args::{Range, Write};
use super::status::Status;
use super::wire::Handle;
use super::{IO_BYTES_MAX, Request};
use crate::vfs::{Attributes, Data, Wcc, Written};

/// The last offset that a file can have, as off_t is signed.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// READLINK (RFC 1813 3.3.5).
pub(super) fn readlink(request: &Request<'_>, file: Handle<'_>) -> Writer {
    let mut after = None;
    let content = try_readlink(request, file, &mut after);
    request.answer(
        content,
        |writer, content| {
            writer.option(after.as_ref());
            writer.opaque(&content);
        },
        |writer| writer.option(after.as_ref()),
    )
}

fn try_readlink(
    request: &Request<'_>,
    file: Handle<'_>,
    after: &mut Option<Attributes>,
) -> Result<Vec<u8>, Status> {
    let target = request.target(file)?;
    Ok(target.fs.read_link(&target.who, &target.file, after)?)
}

/// READ (RFC 1813 3.3.6). More than [`IO_BYTES_MAX`] is cut to it, and past the last offset that
/// a file can have is past the end of every file: nothing, and the end.
pub(super) fn read(request: &Request<'_>, args: Range<'_>) -> Writer {
    let mut after = None;
    let data = try_read(request, args, &mut after);
    request.answer(
        data,
        |writer, data| {
            writer.option(after.as_ref());
            writer.u32(u32::try_from(data.bytes.len()).unwrap_or(u32::MAX));
            writer.bool(data.eof);
            writer.payload(data.bytes);
        },
        |writer| writer.option(after.as_ref()),
    )
}

fn try_read(
    request: &Request<'_>,
    args: Range<'_>,
    after: &mut Option<Attributes>,
) -> Result<Data, Status> {
    let target = request.target(args.file)?;
    let offset = args.offset.min(OFFSET_MAX);
    let room = u32::try_from(OFFSET_MAX - offset).unwrap_or(u32::MAX);
    let count = args.count.min(IO_BYTES_MAX).min(room);
    let mut data = target.fs.read(&target.who, &target.file, offset, count, after)?;
    if data.bytes.len() > count as usize {
        data.bytes.truncate(count as usize);
        data.eof = false;
    }
    Ok(data)
}

/// WRITE (RFC 1813 3.3.7). Of more than [`IO_BYTES_MAX`] the first that many bytes are written,
/// which the count in the reply says.
pub(super) fn write(request: &Request<'_>, args: &Write<'_>) -> Writer {
    let mut wcc = Wcc::default();
    let written = try_write(request, args, &mut wcc);
    request.answer(
        written,
        |writer, written| {
            writer.put(&wcc);
            writer.u32(written.count);
            writer.put(&written.stability);
            writer.fixed(&written.verifier);
        },
        |writer| writer.put(&wcc),
    )
}

fn try_write(request: &Request<'_>, args: &Write<'_>, wcc: &mut Wcc) -> Result<Written, Status> {
    let Range { file, offset, count } = args.range;
    let target = request.writable(file)?;
    // Fewer bytes than the count says are no data to write; of more, the count says how many.
    let data = args.data.get(..count as usize).ok_or(Status::Inval)?;
    if offset.checked_add(count.into()).is_none_or(|end| end > OFFSET_MAX) {
        return Err(Status::FBig);
    }
    let data = &data[..data.len().min(IO_BYTES_MAX as usize)];
    Ok(target.fs.write(&target.who, &target.file, offset, data, args.stability, wcc)?)
}

/// COMMIT (RFC 1813 3.3.21). Changes nothing that a reader sees, so a read-only export permits
/// it. A range that runs past the last offset is one to the end of the file.
pub(super) fn commit(request: &Request<'_>, args: Range<'_>) -> Writer {
    let mut wcc = Wcc::default();
    let done = try_commit(request, args, &mut wcc);
    request.answer(
        done,
        |writer, verifier| {
            writer.put(&wcc);
            writer.fixed(&verifier);
        },
        |writer| writer.put(&wcc),
    )
}

fn try_commit(request: &Request<'_>, args: Range<'_>, wcc: &mut Wcc) -> Result<[u8; 8], Status> {
    let target = request.target(args.file)?;
    let offset = args.offset.min(OFFSET_MAX);
    let fits = OFFSET_MAX - offset >= args.count.into();
    let count = if fits { args.count } else { 0 };
    Ok(target.fs.commit(&target.who, &target.file, offset, count, wcc)?)
}
