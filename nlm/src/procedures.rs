//! Each procedure's arguments as an input to the lock core, for every version of NLM.
//!
//! For the answers see [`crate::answers`]. The outer layer looks up the file, judges
//! whether the caller may lock it, and puts what it found into a [`Call`]; where it refuses, it
//! answers with a [`Refusal`] and the core is not asked.

use std::net::IpAddr;
use std::sync::Arc;

use cleat_lock::{
    FileId, Input, LockId, LockRequest, Mode, Owner, Range, ShareRequest, Token, Wait,
};

use crate::contact::Waiting;
use crate::owner::{Note, Origin, client_id};
use crate::version::Version;
use crate::wire::{CancelArgs, Lock, LockArgs, Notify, ShareArgs, TestArgs, UnlockArgs};

/// How long a blocked request is kept after its client last sent it, in milliseconds.
///
/// A client that still wants the lock says so again: Linux each 30 s, FreeBSD each 5 to 30 s,
/// macOS each 60 s. A waiter that falls silent is a dead client's, and a lock handed to it is
/// lost to all, so the shorter the better; but Linux waits up to 300 s before it connects again
/// to a server that was away, and must find its place in the queue then.
pub const WAITER_SILENCE_MS_MAX: u64 = 330_000;

/// What the outer layer found out about a call before it came here.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Names the reply.
    pub token: Token,
    /// A fresh id for the lock that may come of it.
    pub id: LockId,
    /// Where it came from.
    pub origin: &'a Origin,
    /// The version of NLM that the client speaks, and is called back in.
    pub version: Version,
    /// The file that the handle names.
    pub file: FileId,
    /// The export it lies in.
    pub share_name: Arc<str>,
    /// How to reach the client after a restart, for a LOCK or SHARE: a
    /// [`crate::contact::Contact`], or empty where it is not to be told (NM_LOCK).
    pub contact: Arc<[u8]>,
    /// The NSM state that the client is known to have, 0 where none is, for a SHARE, which does
    /// not say it.
    pub incarnation: u32,
}

/// Why a call does not reach the lock core. Each version maps it to a status of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The handle names no file, or none that is exported.
    StaleHandle,
    /// An exclusive lock on a read-only export.
    ReadOnly,
    /// This client may not use the export, or this caller may not use the file.
    Access,
    /// The file is of a kind that has no locks, such as a directory.
    NotLockable,
    /// The range reaches past [`Version::last_byte`].
    TooBig,
    /// The request cannot be recorded: the store failed, or the server is about to stop.
    NotRecorded,
    /// The file system failed.
    Failed,
}

impl Call<'_> {
    fn owner(&self, lock: &Lock<'_>) -> Owner {
        let note = Note { svid: lock.svid, oh: lock.oh };
        self.named(self.origin.owner_id(lock.svid), &note)
    }

    fn share_owner(&self, oh: &[u8]) -> Owner {
        self.named(self.origin.share_owner_id(oh), &Note { svid: 0, oh })
    }

    fn named(&self, owner_id: String, note: &Note<'_>) -> Owner {
        Owner {
            owner_id: owner_id.into(),
            client_id: self.origin.client_id().into(),
            share_name: Arc::clone(&self.share_name),
            note: note.to_bytes().into(),
        }
    }
}

const fn mode(exclusive: bool) -> Mode {
    if exclusive { Mode::Exclusive } else { Mode::Shared }
}

/// The range of a request. Length 0 reaches to the end of the file.
///
/// One that ends past the last byte of its version is too big in version 4. The others have no
/// such status, and their clients name the end of the file by any number there: it reaches to the
/// end of the file, as with Linux's lockd.
fn range(lock: &Lock<'_>, version: Version) -> Result<Range, Refusal> {
    let range = Range::new(lock.offset, lock.length).ok_or(Refusal::TooBig)?;
    let last = if lock.length == 0 { range.first() } else { range.last() };
    match version {
        _ if last <= version.last_byte() => Ok(range),
        Version::V4 => Err(Refusal::TooBig),
        Version::V1 | Version::V3 => Range::new(lock.offset, 0).ok_or(Refusal::TooBig),
    }
}

/// The range that a request gives up. What could never be locked was never held, but a client that
/// names the end of the file by any number beyond it means all up to there.
fn released(lock: &Lock<'_>, version: Version) -> Result<Range, Refusal> {
    range(lock, version).or_else(|_| Range::new(lock.offset, 0).ok_or(Refusal::TooBig))
}

/// A reclaim by a caller that may not use the file by now: it gets what is on record of it.
#[must_use]
pub fn of_record(reclaim: Input) -> Input {
    match reclaim {
        Input::Lock(request) => Input::ReclaimRecorded(request),
        Input::Share(request) => Input::ReclaimRecordedShare(request),
        other => other,
    }
}

/// NLM_TEST: would this lock be granted? See [`crate::answers::test_res`] for the answers.
pub fn test(args: &TestArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    Ok(Input::Test {
        token: call.token,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range: range(&args.lock, call.version)?,
        mode: mode(args.exclusive),
    })
}

/// NLM_LOCK and NLM_NM_LOCK: take the lock, wait for it where `block` asks to, or have it again where `reclaim`
/// says that it was held before. See [`crate::answers::lock_res`] for the answers.
///
/// A cycle of waiting owners is always looked for. flock(2) callers do not expect it, but nothing
/// in the call tells them from fcntl(2), and an owner made by flock(2) locks one file only: the
/// one cycle it can close is two upgrades of one range, which would otherwise never end.
pub fn lock(args: &LockArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    let range = range(&args.lock, call.version)?;
    let wait = args.block.then(|| {
        let waiting =
            Waiting::new(args.cookie, args.exclusive, &args.lock, call.origin, call.version);
        Wait {
            context: waiting.to_bytes().into(),
            silence_ms: WAITER_SILENCE_MS_MAX,
            // The client's silence ends a wait, not its length: it may block for days.
            timeout_ms: Some(0),
            find_deadlock: true,
        }
    });
    Ok(Input::Lock(LockRequest {
        token: call.token,
        id: call.id,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range,
        mode: mode(args.exclusive),
        wait,
        reclaim: args.reclaim,
        incarnation: args.state.cast_unsigned(),
        contact: Arc::clone(&call.contact),
    }))
}

/// NLM_CANCEL: a blocked LOCK is no longer wanted. The owner, the range and the mode say which.
/// See [`crate::answers::cancel_res`] for the answers.
pub fn cancel(args: &CancelArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    Ok(Input::Cancel {
        token: call.token,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range: released(&args.lock, call.version)?,
        mode: mode(args.exclusive),
    })
}

/// NLM_UNLOCK: release what the owner holds of the range, and what it waits for there.
/// See [`crate::answers::unlock_res`] for the answers.
pub fn unlock(args: &UnlockArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    Ok(Input::Unlock {
        token: call.token,
        id: call.id,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range: released(&args.lock, call.version)?,
    })
}

/// NLM_SHARE: reserve the file against others, or have the reservation again where `reclaim` says
/// that it was held before. See [`crate::answers::share_res`] for the answers.
#[must_use]
pub fn share(args: &ShareArgs<'_>, call: &Call<'_>) -> Input {
    Input::Share(ShareRequest {
        token: call.token,
        owner: call.share_owner(args.share.oh),
        file: call.file.clone(),
        access: args.share.access,
        deny: args.share.deny,
        reclaim: args.reclaim,
        incarnation: call.incarnation,
        contact: Arc::clone(&call.contact),
    })
}

/// NLM_UNSHARE: release the owner's reservation, whatever it was.
/// See [`crate::answers::unshare_res`] for the answers.
#[must_use]
pub fn unshare(args: &ShareArgs<'_>, call: &Call<'_>) -> Input {
    let owner = call.share_owner(args.share.oh);
    Input::Unshare { token: call.token, owner, file: call.file.clone() }
}

/// NLM_FREE_ALL: release everything of a client. It has no result. Only what the caller holds
/// itself goes: the name is believed together with the address that the call came from.
#[must_use]
pub fn free_all(args: &Notify<'_>, client: IpAddr, token: Token) -> Input {
    Input::FreeAll { token, client_id: client_id(args.name, client).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranged(version: Version, offset: u64, length: u64) -> Result<(u64, u64), Refusal> {
        let lock = Lock { caller_name: b"a", fh: b"f", oh: b"o", svid: 1, offset, length };
        range(&lock, version).map(|range| (range.first(), range.last()))
    }

    #[test]
    fn length_0_reaches_to_the_end_of_the_file() {
        for version in Version::ALL {
            let last = version.last_byte();
            assert_eq!(ranged(version, 0, 0), Ok((0, u64::MAX)));
            assert_eq!(ranged(version, last, 0), Ok((last, u64::MAX)));
            assert_eq!(ranged(version, 0, last + 1), Ok((0, last)));
            assert_eq!(ranged(version, last, 1), Ok((last, last)));
        }
    }

    #[test]
    fn in_version_4_a_range_past_the_last_byte_is_too_big() {
        let last = Version::V4.last_byte();
        for (offset, length) in [
            (last + 1, 0),
            (last + 1, 1),
            (last, 2),
            (1, last + 1),
            (0, u64::MAX),
            (u64::MAX, 1),
            (u64::MAX, u64::MAX),
        ] {
            let refused = Err(Refusal::TooBig);
            assert_eq!(ranged(Version::V4, offset, length), refused, "{offset} {length}");
        }
    }

    #[test]
    fn what_is_given_up_reaches_to_the_end_of_the_file_where_it_would_be_too_big() {
        let last = Version::V4.last_byte();
        for version in Version::ALL {
            for (offset, length) in [(0, u64::MAX), (7, u64::MAX), (last, 2), (u64::MAX, 2)] {
                let lock = Lock { caller_name: b"a", fh: b"f", oh: b"o", svid: 1, offset, length };
                let range = released(&lock, version).map(|range| (range.first(), range.last()));
                assert_eq!(range, Ok((offset, u64::MAX)), "{offset} {length}");
            }
        }
    }

    #[test]
    fn in_versions_1_and_3_a_range_past_the_last_byte_reaches_to_the_end_of_the_file() {
        let (last, max) = (Version::V3.last_byte(), u64::from(u32::MAX));
        for version in [Version::V1, Version::V3] {
            for (offset, length) in [(last, 2), (1, last + 1), (100, last), (7, max), (max, max)] {
                assert_eq!(ranged(version, offset, length), Ok((offset, u64::MAX)));
            }
        }
    }
}
