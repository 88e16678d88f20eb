//! Each procedure's arguments as an input to the lock core, for every version of NLM.
//!
//! The answers are a version's own: see [`crate::v4`]. The outer layer looks up the file, judges
//! whether the caller may lock it, and puts what it found into a [`Call`]; where it refuses, it
//! answers with a [`Refusal`] and the core is not asked.

use std::net::IpAddr;
use std::sync::Arc;

use cleat_lock::{FileId, Input, LockId, LockRequest, Mode, Owner, Range, Token, Wait};

use crate::contact::Waiting;
use crate::owner::{Note, Origin, client_id};
use crate::wire::{CancelArgs, Lock, LockArgs, Notify, TestArgs, UnlockArgs};

/// The last byte that can be locked: file offsets are signed (XNFS ch. 10, NLM4_FBIG).
pub const LAST_BYTE: u64 = i64::MAX as u64;

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
    pub version: u32,
    /// The file that the handle names.
    pub file: FileId,
    /// The export it lies in.
    pub share_name: Arc<str>,
    /// How to reach the client after a restart, for a LOCK: a [`crate::contact::Contact`].
    pub contact: Arc<[u8]>,
    /// The core's clock.
    pub now_ms: u64,
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
    /// The range reaches past [`LAST_BYTE`].
    TooBig,
    /// The request cannot be recorded: the store failed, or the server is about to stop.
    NotRecorded,
    /// The same of an UNLOCK, which must not be lost.
    UnlockNotRecorded,
    /// Its client is one too many.
    TooManyClients,
    /// The file system failed.
    Failed,
}

impl Call<'_> {
    fn owner(&self, lock: &Lock<'_>) -> Owner {
        Owner {
            owner_id: self.origin.owner_id(lock.svid).into(),
            client_id: self.origin.client_id().into(),
            share_name: Arc::clone(&self.share_name),
            note: Note { svid: lock.svid, oh: lock.oh }.to_bytes().into(),
        }
    }
}

const fn mode(exclusive: bool) -> Mode {
    if exclusive { Mode::Exclusive } else { Mode::Shared }
}

/// The range of a request. Length 0 reaches to the end of the file.
fn range(lock: &Lock<'_>) -> Result<Range, Refusal> {
    let range = Range::new(lock.offset, lock.length).ok_or(Refusal::TooBig)?;
    let last = if lock.length == 0 { range.first() } else { range.last() };
    if last > LAST_BYTE { Err(Refusal::TooBig) } else { Ok(range) }
}

/// NLM_TEST: would this lock be granted? See [`crate::v4::test_res`] for the answers.
pub fn test(args: &TestArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    Ok(Input::Test {
        token: call.token,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range: range(&args.lock)?,
        mode: mode(args.exclusive),
    })
}

/// NLM_LOCK: take the lock, wait for it where `block` asks to, or have it again where `reclaim`
/// says that it was held before. See [`crate::v4::lock_res`] for the answers.
///
/// A cycle of waiting owners is always looked for. flock(2) callers do not expect it, but nothing
/// in the call tells them from fcntl(2), and an owner made by flock(2) locks one file only: the
/// one cycle it can close is two upgrades of one range, which would otherwise never end.
pub fn lock(args: &LockArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    let range = range(&args.lock)?;
    let wait = args.block.then(|| {
        let waiting =
            Waiting::new(args.cookie, args.exclusive, &args.lock, call.origin, call.version);
        Wait {
            context: waiting.to_bytes().into(),
            expires_ms: call.now_ms.saturating_add(WAITER_SILENCE_MS_MAX),
            // The client's silence ends a wait, not its length: it may block for days.
            timeout_ms: 0,
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
/// See [`crate::v4::cancel_res`] for the answers.
pub fn cancel(args: &CancelArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    Ok(Input::Cancel {
        token: call.token,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range: range(&args.lock)?,
        mode: mode(args.exclusive),
    })
}

/// NLM_UNLOCK: release what the owner holds of the range, and what it waits for there.
/// See [`crate::v4::unlock_res`] for the answers.
pub fn unlock(args: &UnlockArgs<'_>, call: &Call<'_>) -> Result<Input, Refusal> {
    Ok(Input::Unlock {
        token: call.token,
        id: call.id,
        owner: call.owner(&args.lock),
        file: call.file.clone(),
        range: range(&args.lock)?,
    })
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

    fn ranged(offset: u64, length: u64) -> Result<(u64, u64), Refusal> {
        let lock = Lock { caller_name: b"a", fh: b"f", oh: b"o", svid: 1, offset, length };
        range(&lock).map(|range| (range.first(), range.last()))
    }

    #[test]
    fn length_0_reaches_to_the_end_of_the_file() {
        assert_eq!(ranged(0, 0), Ok((0, u64::MAX)));
        assert_eq!(ranged(LAST_BYTE, 0), Ok((LAST_BYTE, u64::MAX)));
    }

    #[test]
    fn a_range_past_the_last_byte_is_too_big() {
        assert_eq!(ranged(0, LAST_BYTE + 1), Ok((0, LAST_BYTE)));
        assert_eq!(ranged(LAST_BYTE, 1), Ok((LAST_BYTE, LAST_BYTE)));
        for (offset, length) in [
            (LAST_BYTE + 1, 0),
            (LAST_BYTE + 1, 1),
            (LAST_BYTE, 2),
            (1, LAST_BYTE + 1),
            (0, u64::MAX),
            (u64::MAX, 1),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(ranged(offset, length), Err(Refusal::TooBig), "{offset} {length}");
        }
    }
}
