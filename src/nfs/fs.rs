//! The file system itself: FSSTAT, FSINFO, PATHCONF.

use cleat_rpc::Writer;

use super::name::NAME_BYTES_MAX;
use super::status::Status;
use super::wire::Handle;
use super::{IO_BYTES_MAX, Request};
use crate::exports::Target;
use crate::vfs::{self, Attributes, FsLimits};

/// FSINFO's rtmult and wtmult, in bytes: what a page of most clients' memory is.
const IO_BYTES_MULTIPLE: u32 = 4096;
/// FSINFO's dtpref, in bytes.
const DIR_BYTES_PREFERRED: u32 = 64 * 1024;

const PROPERTY_LINK: u32 = 0x01;
const PROPERTY_SYMLINK: u32 = 0x02;
const PROPERTY_HOMOGENEOUS: u32 = 0x08;
const PROPERTY_CANSETTIME: u32 = 0x10;

/// Asks the file system, and then the file for its attributes, which all three replies begin
/// with, on failure too.
fn ask<T>(
    request: &Request<'_>,
    file: Handle<'_>,
    ask: impl FnOnce(&Target) -> vfs::Result<T>,
    write: impl FnOnce(&mut Writer, &T),
) -> Writer {
    let (answer, after): (Result<T, Status>, Option<Attributes>) = match request.target(file) {
        Ok(target) => {
            let answer = ask(&target).map_err(Status::from);
            (answer, target.fs.attributes(&target.file).ok())
        }
        Err(status) => (Err(status), None),
    };
    request.answer(
        answer,
        |writer, answer| {
            writer.option(after.as_ref());
            write(writer, &answer);
        },
        |writer| writer.option(after.as_ref()),
    )
}

/// FSSTAT (RFC 1813 3.3.18). How long the numbers stay as they are nobody can promise: invarsec
/// is 0.
pub(super) fn fsstat(request: &Request<'_>, file: Handle<'_>) -> Writer {
    ask(
        request,
        file,
        |target| target.fs.fs_stat(&target.who, &target.file),
        |writer, stat| {
            let bytes = [stat.total_bytes, stat.free_bytes, stat.available_bytes];
            let files = [stat.total_files, stat.free_files, stat.available_files];
            bytes.into_iter().chain(files).for_each(|number| writer.u64(number));
            writer.u32(0);
        },
    )
}

/// FSINFO (RFC 1813 3.3.19).
pub(super) fn fsinfo(request: &Request<'_>, file: Handle<'_>) -> Writer {
    let limits = |target: &Target| target.fs.fs_limits(&target.file);
    ask(request, file, limits, |writer, limits| {
        let io = [IO_BYTES_MAX, IO_BYTES_MAX, IO_BYTES_MULTIPLE];
        io.into_iter().chain(io).for_each(|number| writer.u32(number));
        writer.u32(DIR_BYTES_PREFERRED);
        writer.u64(limits.file_bytes_max);
        let seconds = limits.time_step_ns / 1_000_000_000;
        writer.u32(u32::try_from(seconds).unwrap_or(u32::MAX));
        let nanoseconds = limits.time_step_ns % 1_000_000_000;
        writer.u32(u32::try_from(nanoseconds).unwrap_or(0));
        writer.u32(properties(limits));
    })
}

fn properties(limits: &FsLimits) -> u32 {
    let link = if limits.hard_links { PROPERTY_LINK } else { 0 };
    let symlink = if limits.symlinks { PROPERTY_SYMLINK } else { 0 };
    link | symlink | PROPERTY_HOMOGENEOUS | PROPERTY_CANSETTIME
}

/// PATHCONF (RFC 1813 3.3.20). Names are bytes: kept as they are, upper and lower case being
/// different, and never cut.
pub(super) fn pathconf(request: &Request<'_>, file: Handle<'_>) -> Writer {
    let limits = |target: &Target| target.fs.fs_limits(&target.file);
    ask(request, file, limits, |writer, limits| {
        let name_bytes_max = u32::try_from(NAME_BYTES_MAX).unwrap_or(u32::MAX);
        writer.u32(limits.links_max);
        writer.u32(limits.name_bytes_max.min(name_bytes_max));
        let (no_trunc, case_insensitive, case_preserving) = (true, false, true);
        writer.bool(no_trunc);
        writer.bool(limits.chown_restricted);
        writer.bool(case_insensitive);
        writer.bool(case_preserving);
    })
}
