//! What each lock procedure does only once: see [`crate::rpc_server::Once`].

use cleat_nlm::wire::{
    CancelArgs, Lock, LockArgs, NETOBJ_BYTES_MAX, Notify, Share, ShareArgs, Stat, UnlockArgs,
};
use cleat_nlm::{Message, Operation, Procedure, Version};
use cleat_rpc::Reader;

use crate::rpc_server::{Call, Once, Outcome, Part, Repeat};

/// What a call may do only once. What cannot be read does nothing, and may come as often as it
/// likes.
pub(super) fn once(call: &Call, version: Version, procedure: Procedure) -> Option<Once> {
    let mut arguments = call.arguments();
    let once =
        match procedure {
            Procedure::Call(Operation::Lock)
            | Procedure::Message(Operation::Lock)
            | Procedure::NmLock => LockArgs::read(&mut arguments, version)
                .map(|args| of_lock(Repeat::Runs, &args.lock)),
            Procedure::Call(Operation::Cancel) | Procedure::Message(Operation::Cancel) => {
                CancelArgs::read(&mut arguments, version)
                    .map(|args| of_lock(Repeat::Answered, &args.lock))
            }
            Procedure::Call(Operation::Unlock) | Procedure::Message(Operation::Unlock) => {
                UnlockArgs::read(&mut arguments, version)
                    .map(|args| of_lock(Repeat::Answered, &args.lock))
            }
            Procedure::Share => ShareArgs::read(&mut arguments, version)
                .map(|args| of_share(Repeat::Runs, &args.share)),
            Procedure::Unshare => ShareArgs::read(&mut arguments, version)
                .map(|args| of_share(Repeat::Answered, &args.share)),
            Procedure::FreeAll => Notify::read(&mut arguments, version).map(|args| free_all(&args)),
            Procedure::Null
            | Procedure::Result(_)
            | Procedure::Call(Operation::Test | Operation::Granted)
            | Procedure::Message(Operation::Test | Operation::Granted) => return None,
        };
    once.ok()
}

/// What came of such a call. All results but FREE_ALL's, which has none, begin with the cookie and
/// the status.
pub(super) fn outcome(procedure: Procedure, results: &[u8]) -> Outcome {
    if procedure == Procedure::FreeAll {
        return Outcome::Done;
    }
    let mut reader = Reader::new(results);
    let stat = reader.opaque(NETOBJ_BYTES_MAX).and_then(|_| reader.get());
    match stat {
        Ok(Stat::Granted | Stat::Blocked) => Outcome::Done,
        Ok(Stat::DeniedGracePeriod | Stat::DeniedNolocks) | Err(_) => Outcome::AskAgain,
        Ok(_) => Outcome::Refused,
    }
}

/// The bytes of an owner, by its number: FreeBSD's handle differs between the LOCK and the UNLOCK.
fn of_lock(repeat: Repeat, lock: &Lock<'_>) -> Once {
    let last = match lock.length {
        0 => u64::MAX,
        length => lock.offset.saturating_add(length - 1),
    };
    of_owner(repeat, Part::range((lock.fh, lock.svid), lock.offset, last), lock.caller_name)
}

fn of_share(repeat: Repeat, share: &Share<'_>) -> Once {
    of_owner(repeat, Part::whole((share.fh, share.oh)), share.caller_name)
}

/// A call about one owner is over when the owner asks about the same again, and when its host gives
/// up all; and whatever an owner does, an earlier FREE_ALL of its host is over.
fn of_owner(repeat: Repeat, part: Part, host: &[u8]) -> Once {
    let (one, all) = (Part::whole(("one of", host)), Part::whole(("all of", host)));
    Once { repeat, ended_by: vec![part, one], ends: vec![part, all] }
}

fn free_all(args: &Notify<'_>) -> Once {
    let (one, all) = (Part::whole(("one of", args.name)), Part::whole(("all of", args.name)));
    Once { repeat: Repeat::Answered, ended_by: vec![all], ends: vec![one, all] }
}
