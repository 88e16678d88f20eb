//! Every status that the docstrings of `answers` name, and what each procedure asks of the core.

#![allow(missing_docs)]

use std::net::IpAddr;
use std::sync::Arc;

use cleat_lock::{
    Access, Conflict, FileId, Input, Limit, LockId, Mode, Outcome, Owner, Range, ShareConflict,
    Token,
};
use cleat_nlm::answers::{self, Ended};
use cleat_nlm::contact::{Contact, Waiting, contact_bytes};
use cleat_nlm::owner::Note;
use cleat_nlm::procedures::{self, WAITER_SILENCE_MS_MAX};
use cleat_nlm::wire::{
    CancelArgs, Holder, Lock, LockArgs, Notify, Share, ShareArgs, Stat, TestArgs, TestReply,
    UnlockArgs,
};
use cleat_nlm::{Call, Origin, Refusal, Transport, Version};
use uuid::Uuid;

const V4: Version = Version::V4;
const LAST_BYTE: u64 = V4.last_byte();

const LOCK: Lock<'static> = Lock {
    caller_name: b"guest1",
    fh: b"handle",
    oh: b"7@guest1",
    svid: 7,
    offset: 100,
    length: 10,
};

const ARGS: LockArgs<'static> = LockArgs {
    cookie: b"\0\0\0\x2a",
    block: true,
    exclusive: true,
    lock: LOCK,
    reclaim: false,
    state: 3,
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn origin() -> Origin {
    Origin::new(LOCK.caller_name, ip("10.0.0.2"), ip("10.0.0.1"), Transport::Tcp)
}

fn call(origin: &Origin) -> Call<'_> {
    Call {
        token: Token(1),
        id: LockId::new(Uuid::from_u128(9)),
        origin,
        version: V4,
        file: FileId::new(*b"file"),
        share_name: "/srv".into(),
        contact: contact_bytes(origin, None).into(),
        incarnation: 5,
    }
}

fn owner(owner_id: &str, note: &Note<'_>) -> Owner {
    Owner {
        owner_id: owner_id.into(),
        client_id: "c".into(),
        share_name: "/srv".into(),
        note: note.to_bytes().into(),
    }
}

fn conflict(owner_id: &str, range: Range, mode: Mode) -> Outcome {
    let note = Note { svid: 5, oh: b"5@guest2" };
    Outcome::Conflict(Conflict { owner: owner(owner_id, &note), range, mode })
}

fn range(offset: u64, length: u64) -> Range {
    Range::new(offset, length).expect("a range")
}

fn conflicting() -> Outcome {
    conflict("nlm:guest2@10.0.0.3/10.0.0.1/tcp:5", range(90, 20), Mode::Shared)
}

fn limit() -> Outcome {
    Outcome::Limit { which: Limit::LocksTotal, current: 1, maximum: 1 }
}

#[test]
fn a_lock_is_answered_as_its_docstring_says() {
    for (outcome, stat) in [
        (Outcome::Granted, Stat::Granted),
        (conflicting(), Stat::Denied),
        (limit(), Stat::DeniedNolocks),
        (Outcome::Blocked, Stat::Blocked),
        (Outcome::Grace { left_ms: 1 }, Stat::DeniedGracePeriod),
        (Outcome::Deadlock { cycle: Vec::new() }, Stat::Deadlock),
        (Outcome::ReclaimRefused, Stat::Denied),
    ] {
        let res = answers::lock_res(V4, ARGS.cookie, &Ok(outcome.clone()));
        assert_eq!((res.cookie, res.stat), (ARGS.cookie, stat), "{outcome:?}");
    }
}

#[test]
fn a_cancel_is_answered_as_its_docstring_says() {
    for (outcome, stat) in [(Outcome::Done, Stat::Granted), (Outcome::AlreadyHeld, Stat::Denied)] {
        assert_eq!(answers::cancel_res(V4, b"", &Ok(outcome.clone())).stat, stat, "{outcome:?}");
    }
}

#[test]
fn an_unlock_is_answered_as_its_docstring_says() {
    for (outcome, stat) in [(Outcome::Done, Stat::Granted), (limit(), Stat::DeniedNolocks)] {
        assert_eq!(answers::unlock_res(V4, b"", &Ok(outcome.clone())).stat, stat, "{outcome:?}");
    }
}

#[test]
fn a_test_is_answered_as_its_docstring_says() {
    let holder = Holder { exclusive: false, svid: 5, oh: b"5@guest2", offset: 90, length: 20 };
    for (outcome, reply) in [
        (Outcome::Free, TestReply::Stat(Stat::Granted)),
        (conflicting(), TestReply::Denied(holder)),
        (Outcome::Grace { left_ms: 1 }, TestReply::Stat(Stat::DeniedGracePeriod)),
    ] {
        let ended = Ok(outcome);
        let res = answers::test_res(V4, ARGS.cookie, &ended);
        assert_eq!((res.cookie, res.reply), (ARGS.cookie, reply), "{ended:?}");
    }
}

/// Where a client of this version is told that a holder of `range` is.
fn told(version: Version, range: Range) -> (u64, u64) {
    let ended = Ok(conflict("nlm:x", range, Mode::Exclusive));
    match answers::test_res(version, b"", &ended).reply {
        TestReply::Denied(holder) => (holder.offset, holder.length),
        TestReply::Stat(stat) => panic!("{stat:?}"),
    }
}

#[test]
fn a_holder_to_the_end_of_the_file_has_length_0() {
    assert_eq!(told(V4, range(5, 0)), (5, 0));
    assert_eq!(told(V4, range(0, LAST_BYTE + 1)), (0, LAST_BYTE + 1));
    assert_eq!(told(V4, range(5, LAST_BYTE + 1)), (5, 0), "clients cannot read it back");
    assert_eq!(told(V4, range(LAST_BYTE + 9, 1)), (LAST_BYTE, 0));
}

#[test]
fn clients_of_32_bits_are_told_of_holders_in_32_bits() {
    let last = Version::V1.last_byte();
    assert_eq!(last, 0x7fff_ffff);
    for version in [Version::V1, Version::V3] {
        assert_eq!(told(version, range(5, 7)), (5, 7));
        assert_eq!(told(version, range(0, last + 1)), (0, last + 1));
        assert_eq!(told(version, range(5, last)), (5, 0));
        assert_eq!(told(version, range(1 << 40, 7)), (last, 0));
    }
}

#[test]
fn a_holder_of_another_protocol_has_no_svid_and_no_oh() {
    let ended = Ok(conflict("smb:session456:pid789", range(0, 0), Mode::Exclusive));
    let expected = TestReply::Denied(Holder::UNKNOWN);
    assert_eq!(answers::test_res(V4, b"", &ended).reply, expected);
}

#[test]
fn a_call_that_does_not_reach_the_core_has_a_status_too() {
    for (refusal, stat) in [
        (Refusal::StaleHandle, Stat::StaleHandle),
        (Refusal::ReadOnly, Stat::ReadOnly),
        (Refusal::TooBig, Stat::TooBig),
        (Refusal::NotRecorded, Stat::DeniedNolocks),
        (Refusal::Access, Stat::Failed),
        (Refusal::NotLockable, Stat::Failed),
        (Refusal::Failed, Stat::Failed),
    ] {
        let ended: Ended = Err(refusal);
        assert_eq!(answers::lock_res(V4, b"c", &ended).stat, stat);
        assert_eq!(answers::cancel_res(V4, b"c", &ended).stat, stat);
        assert_eq!(answers::share_res(V4, b"c", &ended).stat, stat);
        assert_eq!(answers::test_res(V4, b"c", &ended).reply, TestReply::Stat(stat));
        // What must not be lost is asked for again.
        let stat = if refusal == Refusal::NotRecorded { Stat::DeniedGracePeriod } else { stat };
        assert_eq!(answers::unlock_res(V4, b"c", &ended).stat, stat);
        assert_eq!(answers::unshare_res(V4, b"c", &ended).stat, stat);
    }
}

#[test]
fn versions_1_and_3_have_five_statuses() {
    let cycle = Vec::new();
    for (ended, stat) in [
        (Ok(Outcome::Granted), Stat::Granted),
        (Ok(conflicting()), Stat::Denied),
        (Ok(limit()), Stat::DeniedNolocks),
        (Ok(Outcome::Blocked), Stat::Blocked),
        (Ok(Outcome::Grace { left_ms: 1 }), Stat::DeniedGracePeriod),
        (Ok(Outcome::Deadlock { cycle }), Stat::Denied),
        (Err(Refusal::ReadOnly), Stat::DeniedNolocks),
        (Err(Refusal::StaleHandle), Stat::DeniedNolocks),
        (Err(Refusal::TooBig), Stat::DeniedNolocks),
        (Err(Refusal::Access), Stat::DeniedNolocks),
    ] {
        for version in [Version::V1, Version::V3] {
            assert_eq!(answers::lock_res(version, b"", &ended).stat, stat, "{ended:?}");
        }
    }
}

#[test]
fn a_share_is_answered_as_its_docstring_says() {
    let other = owner("nlm:guest2@10.0.0.3/share:p", &Note::NONE);
    let (access, deny) = (Access::Read, Access::Write);
    let conflict = Outcome::ShareConflict(ShareConflict { owner: other, access, deny });
    for (outcome, stat) in [
        (Outcome::Granted, Stat::Granted),
        (conflict, Stat::Denied),
        (limit(), Stat::DeniedNolocks),
        (Outcome::Grace { left_ms: 1 }, Stat::DeniedGracePeriod),
        (Outcome::ReclaimRefused, Stat::Denied),
    ] {
        let res = answers::share_res(Version::V3, b"c", &Ok(outcome.clone()));
        assert_eq!((res.cookie, res.stat, res.sequence), (&b"c"[..], stat, 0), "{outcome:?}");
    }
    assert_eq!(answers::unshare_res(Version::V3, b"c", &Ok(Outcome::Done)).stat, Stat::Granted);
}

#[test]
fn a_grant_to_us_is_not_wanted() {
    let args = TestArgs { cookie: b"c", exclusive: true, lock: LOCK };
    let res = answers::granted_res(&args);
    assert_eq!((res.cookie, res.stat), (&b"c"[..], Stat::Denied));
}

#[test]
fn a_lock_reaches_the_core_with_all_it_said() {
    let origin = origin();
    let Ok(Input::Lock(request)) = procedures::lock(&ARGS, &call(&origin)) else {
        panic!("not a lock")
    };
    assert_eq!(&*request.owner.owner_id, "nlm:guest1@10.0.0.2/10.0.0.1/tcp:7");
    assert_eq!(&*request.owner.client_id, "nlm:guest1@10.0.0.2");
    assert_eq!(Note::of(&request.owner.owner_id, &request.owner.note).oh, LOCK.oh);
    assert_eq!((request.range, request.mode), (range(100, 10), Mode::Exclusive));
    assert_eq!((request.reclaim, request.incarnation), (false, 3));
    let contact = Contact::from_bytes(&request.contact).expect("a contact");
    assert_eq!(contact.client_id(), &*request.owner.client_id);
    let wait = request.wait.expect("it blocks");
    assert_eq!((wait.silence_ms, wait.timeout_ms), (WAITER_SILENCE_MS_MAX, Some(0)));
    let waiting = Waiting::from_bytes(&wait.context).expect("a waiter");
    let args = waiting.granted_args();
    assert_eq!(args, TestArgs { cookie: ARGS.cookie, exclusive: true, lock: LOCK });
    assert_eq!((waiting.client, waiting.server), (ip("10.0.0.2"), ip("10.0.0.1")));
}

#[test]
fn a_lock_that_does_not_block_does_not_wait() {
    let args = LockArgs { block: false, exclusive: false, reclaim: true, state: -1, ..ARGS };
    let origin = origin();
    let Ok(Input::Lock(request)) = procedures::lock(&args, &call(&origin)) else {
        panic!("not a lock")
    };
    assert_eq!((request.wait, request.mode, request.reclaim), (None, Mode::Shared, true));
    assert_eq!(request.incarnation, u32::MAX, "the bits of a signed state are kept");
}

#[test]
fn unlock_cancel_and_test_name_the_owner_of_the_lock_whatever_oh_says() {
    let lock = Lock { oh: b"another", ..LOCK };
    let (origin, cookie) = (origin(), ARGS.cookie);
    let call = call(&origin);
    let expected: Arc<str> = "nlm:guest1@10.0.0.2/10.0.0.1/tcp:7".into();
    let asked = (expected, range(100, 10));
    match procedures::unlock(&UnlockArgs { cookie, lock }, &call) {
        Ok(Input::Unlock { owner, range, .. }) => assert_eq!((owner.owner_id, range), asked),
        other => panic!("{other:?}"),
    }
    let args = CancelArgs { cookie, block: true, exclusive: false, lock };
    match procedures::cancel(&args, &call) {
        Ok(Input::Cancel { owner, range, mode, .. }) => {
            assert_eq!(((owner.owner_id, range), mode), (asked.clone(), Mode::Shared));
        }
        other => panic!("{other:?}"),
    }
    match procedures::test(&TestArgs { cookie, exclusive: true, lock }, &call) {
        Ok(Input::Test { owner, range, mode, .. }) => {
            assert_eq!(((owner.owner_id, range), mode), (asked, Mode::Exclusive));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_past_the_last_byte_is_locked() {
    let lock = Lock { offset: LAST_BYTE, length: 2, ..LOCK };
    let origin = origin();
    let (call, cookie) = (call(&origin), ARGS.cookie);
    let answers = [
        procedures::test(&TestArgs { cookie, exclusive: true, lock }, &call),
        procedures::lock(&LockArgs { lock, ..ARGS }, &call),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Refusal::TooBig)), "{answer:?}");
    }
    // But all that is there can be given up.
    let given_up = [
        procedures::cancel(&CancelArgs { cookie, block: true, exclusive: true, lock }, &call),
        procedures::unlock(&UnlockArgs { cookie, lock }, &call),
    ];
    for input in given_up {
        let Ok(Input::Cancel { range, .. } | Input::Unlock { range, .. }) = input else {
            panic!("{input:?}")
        };
        assert_eq!((range.first(), range.last()), (LAST_BYTE, u64::MAX));
    }
}

#[test]
fn a_share_reaches_the_core_with_all_it_said_and_its_clients_state() {
    let (deny, access) = (Access::Write, Access::Both);
    let share = Share { caller_name: b"guest1", fh: b"handle", oh: b"dos 7", deny, access };
    let args = ShareArgs { cookie: b"c", share, reclaim: true };
    let origin = origin();
    let call = call(&origin);
    let Input::Share(request) = procedures::share(&args, &call) else { panic!("not a share") };
    assert_eq!(&*request.owner.owner_id, "nlm:guest1@10.0.0.2/share:dos%207");
    assert_eq!(&*request.owner.client_id, "nlm:guest1@10.0.0.2");
    assert_eq!((request.deny, request.access), (deny, access));
    assert_eq!((request.reclaim, request.incarnation), (true, 5));
    assert_eq!(request.contact, call.contact);
    match procedures::unshare(&args, &call) {
        Input::Unshare { owner, .. } => assert_eq!(owner, request.owner),
        other => panic!("{other:?}"),
    }
}

#[test]
fn free_all_reaches_only_the_locks_of_its_sender() {
    let args = Notify { name: b"guest1", state: 0 };
    match procedures::free_all(&args, ip("::ffff:10.0.0.9"), Token(1)) {
        Input::FreeAll { client_id, .. } => assert_eq!(&*client_id, "nlm:guest1@10.0.0.9"),
        other => panic!("{other:?}"),
    }
}
