//! Listing a directory: READDIR and READDIRPLUS, within the room that the caller has.

use cleat_rpc::{Writer, xdr};

use super::args::{Position, ReadDir, ReadDirPlus};
use super::status::Status;
use super::wire::{ATTRIBUTES_BYTES, HANDLE_BYTES_MAX};
use super::{IO_BYTES_MAX, Request};
use crate::exports::Target;
use crate::vfs::{Attributes, Entry, FileHandle};

/// A READDIR3resok or READDIRPLUS3resok without entries, in bytes: attributes, verifier, the
/// list's end, eof.
const EMPTY_BYTES: usize = 4 + ATTRIBUTES_BYTES + 8 + 4 + 4;
/// What READDIRPLUS adds to an entry at least, in bytes: no attributes, no handle.
const PLUS_BYTES_MIN: usize = 4 + 4;
/// What it adds at most.
const PLUS_BYTES_MAX: usize = PLUS_BYTES_MIN + ATTRIBUTES_BYTES + 4 + HANDLE_BYTES_MAX;

/// The bytes of an entry3 in its list: that it follows, file number, name, cookie.
const fn entry_bytes(name: &[u8]) -> usize {
    4 + 8 + 4 + name.len() + xdr::padding(name.len()) + 8
}

/// The bytes that entries may fill where the whole may have `bytes_max`.
fn room(bytes_max: u32) -> Result<usize, Status> {
    (bytes_max.min(IO_BYTES_MAX) as usize).checked_sub(EMPTY_BYTES).ok_or(Status::TooSmall)
}

fn put_entry(writer: &mut Writer, fileid: u64, name: &[u8], cookie: u64) {
    writer.bool(true);
    writer.u64(fileid);
    writer.opaque(name);
    writer.u64(cookie);
}

/// The entries of a reply as XDR, and what follows from the listing.
struct Listed {
    entries: Writer,
    verifier: [u8; 8],
    eof: bool,
}

fn answer(
    request: &Request<'_>,
    listed: Result<Listed, Status>,
    after: Option<&Attributes>,
) -> Writer {
    request.answer(
        listed,
        |writer, listed| {
            writer.option(after);
            writer.fixed(&listed.verifier);
            writer.raw(&listed.entries.into_bytes());
            writer.bool(false);
            writer.bool(listed.eof);
        },
        |writer| writer.option(after),
    )
}

/// READDIR (RFC 1813 3.3.16): as many entries as fit, NFS3ERR_TOOSMALL where the first does not.
pub(super) fn readdir(request: &Request<'_>, args: &ReadDir<'_>) -> Writer {
    let mut after = None;
    let listed = try_readdir(request, args, &mut after);
    answer(request, listed, after.as_ref())
}

fn try_readdir(
    request: &Request<'_>,
    args: &ReadDir<'_>,
    after: &mut Option<Attributes>,
) -> Result<Listed, Status> {
    let dir = request.target(args.from.dir)?;
    let room = room(args.bytes_max)?;
    let mut entries = Writer::new();
    let (verifier, eof) = list(&dir, &args.from, after, |entry| {
        let fits = entries.len() + entry_bytes(entry.name) <= room;
        if fits {
            put_entry(&mut entries, entry.fileid, entry.name, entry.cookie);
        }
        fits
    })?;
    if entries.is_empty() && !eof {
        return Err(Status::TooSmall);
    }
    Ok(Listed { entries, verifier, eof })
}

/// Offers the entries to `take`; the end is the end only if none was left.
fn list(
    dir: &Target,
    from: &Position<'_>,
    after: &mut Option<Attributes>,
    mut take: impl FnMut(Entry<'_>) -> bool,
) -> Result<([u8; 8], bool), Status> {
    let mut left = false;
    let mut offer = |entry: Entry<'_>| {
        left = left || !take(entry);
        !left
    };
    let Position { cookie, verifier, .. } = *from;
    let listing = dir.fs.read_dir(&dir.who, &dir.file, cookie, verifier, &mut offer, after)?;
    Ok((listing.verifier, listing.eof && !left))
}

/// READDIRPLUS (RFC 1813 3.3.17): the same with attributes and a handle for each name that can
/// be looked up; one that cannot has neither. The first entry is sent even if its name alone
/// is more than `dircount`, which is a hint (a listing has to go on), and without attributes
/// and handle if only so it fits into `maxcount`.
pub(super) fn readdirplus(request: &Request<'_>, args: &ReadDirPlus<'_>) -> Writer {
    let mut after = None;
    let listed = try_readdirplus(request, args, &mut after);
    answer(request, listed, after.as_ref())
}

/// An entry that is yet to be looked up.
struct Name {
    fileid: u64,
    name: Box<[u8]>,
    cookie: u64,
}

fn try_readdirplus(
    request: &Request<'_>,
    args: &ReadDirPlus<'_>,
    after: &mut Option<Attributes>,
) -> Result<Listed, Status> {
    let dir = request.target(args.from.dir)?;
    let room = room(args.bytes_max)?;
    let names_room = args.names_bytes_max as usize;
    // The names first and the look-ups after, so that no call of the file system runs within
    // another. Each is reckoned with the longest handle, so what is read is what can be sent.
    let (mut names, mut names_bytes, mut bytes) = (Vec::<Name>::new(), 0, 0);
    let (verifier, eof) = list(&dir, &args.from, after, |entry| {
        let size = entry_bytes(entry.name);
        let fits = match names.is_empty() {
            true => size + PLUS_BYTES_MIN <= room,
            false => names_bytes + size <= names_room && bytes + size + PLUS_BYTES_MAX <= room,
        };
        names_bytes += size;
        bytes += size + PLUS_BYTES_MAX;
        if fits {
            let Entry { fileid, cookie, name } = entry;
            names.push(Name { fileid, name: name.into(), cookie });
        }
        fits
    })?;
    if names.is_empty() && !eof {
        return Err(Status::TooSmall);
    }
    let mut entries = Writer::new();
    for name in &names {
        let found = dir.fs.lookup(&dir.who, &dir.file, &name.name, &mut None).ok();
        put_entry_plus(request, &dir, &mut entries, room, name, found);
    }
    Ok(Listed { entries, verifier, eof })
}

fn put_entry_plus(
    request: &Request<'_>,
    dir: &Target,
    entries: &mut Writer,
    room: usize,
    name: &Name,
    found: Option<(FileHandle, Attributes)>,
) {
    put_entry(entries, name.fileid, &name.name, name.cookie);
    let found = found
        .map(|(file, attributes)| (request.wire_handle(dir, &file), attributes))
        .filter(|(handle, _)| {
            let handle_bytes = 4 + handle.len() + xdr::padding(handle.len());
            entries.len() + PLUS_BYTES_MIN + ATTRIBUTES_BYTES + handle_bytes <= room
        });
    let Some((handle, attributes)) = found else {
        entries.bool(false);
        entries.bool(false);
        return;
    };
    entries.option(Some(&attributes));
    entries.bool(true);
    entries.opaque(&handle);
}
