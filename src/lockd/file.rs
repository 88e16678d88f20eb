//! From the handle in a lock request to the file's identity, and whether this caller may lock it.

use std::sync::Arc;

use cleat_lock::{FileId, Mode};
use cleat_nlm::Refusal;

use crate::exports::{self, Exports, Target};
use crate::rpc_server::Call;
use crate::vfs::{ACCESS_EXTEND, ACCESS_MODIFY, ACCESS_READ, FsError, Kind};

/// What a call wants of the file, and so what its caller must be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// To lock it in this mode, or to know whether that could be.
    Lock(Mode),
    /// To give something up: nothing about the file forbids that, not even that it is gone.
    Release,
}

/// A file that may be locked, and the export it was reached through.
pub(super) struct Found {
    pub(super) file: FileId,
    pub(super) share_name: Arc<str>,
    /// Why its caller may not lock it: it gets no more than what is on record of it.
    pub(super) refused: Option<Refusal>,
}

/// Finds the file without asking a disk, where something is given up and the handle says what it
/// names: a disk that hangs keeps nobody from that. `None` where the disk has to be asked.
pub(super) fn find_at_once(
    exports: &Exports,
    call: &Call,
    fh: &[u8],
    want: Want,
) -> Option<Result<Found, Refusal>> {
    let target = match exports.resolve(fh, call).map_err(refusal) {
        Ok(target) => target,
        Err(refusal) => return Some(Err(refusal)),
    };
    let identity = target.fs.identity_at_once(&target.file).filter(|_| want == Want::Release)?;
    let share_name = exports.name(target.export);
    Some(Ok(Found { file: FileId::new(identity.0), share_name, refused: None }))
}

const fn refusal(refusal: exports::Refusal) -> Refusal {
    match refusal {
        exports::Refusal::BadHandle | exports::Refusal::Stale => Refusal::StaleHandle,
        exports::Refusal::Access => Refusal::Access,
        exports::Refusal::Hangs => Refusal::Failed,
    }
}

/// Finds the file that a handle names and judges whether this caller may do this with its locks.
/// What `reclaims` is not refused here: what a caller has on record is its own whatever became of
/// its rights. It may block.
pub(super) fn find(
    exports: &Exports,
    call: &Call,
    fh: &[u8],
    want: Want,
    reclaims: bool,
) -> Result<Found, Refusal> {
    let target = exports.resolve(fh, call).map_err(refusal)?;
    let identity = target.fs.identity(&target.file).map_err(failed)?;
    let refused = match want {
        Want::Release => None,
        Want::Lock(mode) => may_lock(&target, mode).err(),
    };
    if let Some(refusal) = refused.filter(|_| !reclaims) {
        return Err(refusal);
    }
    let share_name = exports.name(target.export);
    Ok(Found { file: FileId::new(identity.0), share_name, refused })
}

/// Judges whether a caller may lock a file.
fn may_lock(target: &Target, mode: Mode) -> Result<(), Refusal> {
    if target.read_only && mode == Mode::Exclusive {
        return Err(Refusal::ReadOnly);
    }
    // Who may read or write the file may lock it, in any mode, as in Linux's nfsd; and its
    // owner always (RFC 1813 4.4).
    let wanted = ACCESS_READ | ACCESS_MODIFY | ACCESS_EXTEND;
    let mut after = None;
    let granted =
        target.fs.access(&target.who, &target.file, wanted, &mut after).map_err(failed)?;
    let attributes = after.ok_or(Refusal::Failed)?;
    if attributes.kind != Kind::Regular {
        return Err(Refusal::NotLockable);
    }
    if granted == 0 && attributes.uid != target.who.uid && !target.insecure_locks {
        return Err(Refusal::Access);
    }
    Ok(())
}

fn failed(error: FsError) -> Refusal {
    match error {
        FsError::Stale | FsError::BadHandle => Refusal::StaleHandle,
        _ => Refusal::Failed,
    }
}
