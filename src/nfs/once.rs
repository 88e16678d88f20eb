//! What the procedures that change something do only once: see [`crate::rpc_server::Once`].

use cleat_rpc::Reader;
use cleat_rpc::xdr::Result;

use super::procedure::{
    CREATE, LINK, LOOKUP, MKDIR, MKNOD, REMOVE, RENAME, RMDIR, SETATTR, SYMLINK,
};
use super::status::Status;
use super::wire::{ATTRIBUTES_BYTES, DirOp, HANDLE_BYTES_MAX, Handle};
use crate::rpc_server::{Call, Once, Outcome, Part, Repeat};

/// Where the number of the file is in a `fattr3`, and that of its file system before it
/// (RFC 1813 2.5).
const FILE_NUMBERS: std::ops::Range<usize> = 44..60;

/// What a call may do only once. WRITE is not among them, which may be repeated; what cannot be
/// read does nothing.
pub(super) fn once(call: &Call) -> Option<Once> {
    parts(call).ok()?.map(|(repeat, parts)| Once::new(repeat, parts))
}

fn parts(call: &Call) -> Result<Option<(Repeat, Vec<Part>)>> {
    let mut args = call.arguments();
    let of_name = |at: DirOp<'_>| Part::whole((at.dir.0, at.name));
    Ok(Some(match call.header.procedure {
        CREATE | MKDIR | SYMLINK | MKNOD => (Repeat::Checked, vec![of_name(args.get()?)]),
        LINK => {
            let _file: Handle<'_> = args.get()?;
            (Repeat::Checked, vec![of_name(args.get()?)])
        }
        REMOVE | RMDIR => (Repeat::Answered, vec![of_name(args.get()?)]),
        RENAME => (Repeat::Answered, vec![of_name(args.get()?), of_name(args.get()?)]),
        SETATTR => (Repeat::Answered, vec![Part::whole(args.get::<Handle<'_>>()?.0)]),
        _ => return Ok(None),
    }))
}

pub(super) fn outcome(results: &[u8]) -> Outcome {
    match Reader::new(results).u32() {
        Ok(0) => Outcome::Done,
        Ok(status) if status != Status::Jukebox as u32 => Outcome::Refused,
        _ => Outcome::AskAgain,
    }
}

/// The LOOKUP of the name that a call made: `None` where its results tell of nothing that was made.
pub(super) fn lookup(mut call: Call, results: &[u8]) -> Option<Call> {
    if Reader::new(results).u32() != Ok(0) {
        return None;
    }
    if call.header.procedure == LINK {
        let mut args = call.arguments();
        let _file: Handle<'_> = args.get().ok()?;
        call.arguments = call.arguments.slice_ref(args.rest());
    }
    call.header.procedure = LOOKUP;
    Some(call)
}

/// Whether a LOOKUP found what the call made that had these results. What the server could not tell
/// then or now is not the same.
pub(super) fn is_found(procedure: u32, results: &[u8], found: &[u8]) -> bool {
    let same = || -> Result<bool> {
        let (mut made, mut found) = (Reader::new(results), Reader::new(found));
        let (_status, status) = (made.u32()?, found.u32()?);
        let handle = found.opaque(HANDLE_BYTES_MAX)?;
        let there = made.bool()?;
        Ok(status == 0
            && there
            && if procedure == LINK {
                // LINK's results have no handle, but tell of the file (RFC 1813 3.3.15).
                found.bool()? && file_numbers(&mut made)? == file_numbers(&mut found)?
            } else {
                made.opaque(HANDLE_BYTES_MAX)? == handle
            })
    };
    same().unwrap_or(false)
}

/// The numbers of a file and its file system, of a `fattr3`.
fn file_numbers<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    Ok(&reader.bytes(ATTRIBUTES_BYTES)?[FILE_NUMBERS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_ask_again_is_not_told_so_from_memory() {
        let outcome = |status: Status| outcome(&(status as u32).to_be_bytes());
        assert_eq!(outcome(Status::Jukebox), Outcome::AskAgain);
        assert_eq!(outcome(Status::Exist), Outcome::Refused);
        assert_eq!(super::outcome(&[0; 4]), Outcome::Done);
        assert_eq!(super::outcome(&[]), Outcome::AskAgain);
    }
}
