//! Every status that the docstrings of `v4` name, and what each procedure asks of the core.

#![allow(missing_docs)]

use std::net::IpAddr;
use std::sync::Arc;

use cleat_lock::{Conflict, FileId, Input, Limit, LockId, Mode, Outcome, Owner, Range, Token};
use cleat_nlm::contact::{Contact, Waiting, contact_bytes};
use cleat_nlm::owner::Note;
use cleat_nlm::procedures::{self, LAST_BYTE, WAITER_SILENCE_MS_MAX};
use cleat_nlm::v4;
use cleat_nlm::wire::{
    CancelArgs, Holder, Lock, LockArgs, Notify, Stat, TestArgs, TestReply, UnlockArgs,
};
use cleat_nlm::{Call, Origin, Refusal, Transport};
use uuid::Uuid;

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
        version: 4,
        file: FileId::new(*b"file"),
        share_name: "/srv".into(),
        contact: contact_bytes(origin, None).into(),
        now_ms: 1_000,
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
        let res = v4::lock_res(ARGS.cookie, &outcome);
        assert_eq!((res.cookie, res.stat), (ARGS.cookie, stat), "{outcome:?}");
    }
}

#[test]
fn a_cancel_is_answered_as_its_docstring_says() {
    for (outcome, stat) in [(Outcome::Done, Stat::Granted), (Outcome::AlreadyHeld, Stat::Denied)] {
        assert_eq!(v4::cancel_res(b"", &outcome).stat, stat, "{outcome:?}");
    }
}

#[test]
fn an_unlock_is_answered_as_its_docstring_says() {
    for (outcome, stat) in [(Outcome::Done, Stat::Granted), (limit(), Stat::DeniedNolocks)] {
        assert_eq!(v4::unlock_res(b"", &outcome).stat, stat, "{outcome:?}");
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
        let res = v4::test_res(ARGS.cookie, &outcome);
        assert_eq!((res.cookie, res.reply), (ARGS.cookie, reply), "{outcome:?}");
    }
}

#[test]
fn a_holder_to_the_end_of_the_file_has_length_0() {
    let reach = |range| match v4::test_res(b"", &conflict("nlm:x", range, Mode::Exclusive)).reply {
        TestReply::Denied(holder) => (holder.exclusive, holder.offset, holder.length),
        TestReply::Stat(stat) => panic!("{stat:?}"),
    };
    assert_eq!(reach(range(5, 0)), (true, 5, 0));
    assert_eq!(reach(range(0, LAST_BYTE + 1)), (true, 0, LAST_BYTE + 1));
    assert_eq!(reach(range(5, LAST_BYTE + 1)), (true, 5, 0), "clients cannot read it back");
    assert_eq!(reach(range(LAST_BYTE + 9, 1)), (true, LAST_BYTE, 0));
}

#[test]
fn a_holder_of_another_protocol_has_no_svid_and_no_oh() {
    let outcome = conflict("smb:session456:pid789", range(0, 0), Mode::Exclusive);
    let expected = TestReply::Denied(Holder::UNKNOWN);
    assert_eq!(v4::test_res(b"", &outcome).reply, expected);
}

#[test]
fn a_call_that_does_not_reach_the_core_has_a_status_too() {
    for (refusal, stat) in [
        (Refusal::StaleHandle, Stat::StaleHandle),
        (Refusal::ReadOnly, Stat::ReadOnly),
        (Refusal::TooBig, Stat::TooBig),
        (Refusal::NotRecorded, Stat::DeniedNolocks),
        (Refusal::UnlockNotRecorded, Stat::DeniedGracePeriod),
        (Refusal::TooManyClients, Stat::DeniedNolocks),
        (Refusal::Access, Stat::Failed),
        (Refusal::NotLockable, Stat::Failed),
        (Refusal::Failed, Stat::Failed),
    ] {
        assert_eq!(v4::refused(b"c", refusal).stat, stat);
        assert_eq!(v4::test_refused(b"c", refusal).reply, TestReply::Stat(stat));
    }
}

#[test]
fn a_grant_to_us_is_not_wanted() {
    let args = TestArgs { cookie: b"c", exclusive: true, lock: LOCK };
    let res = v4::granted_res(&args);
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
    assert_eq!(wait.expires_ms, 1_000 + WAITER_SILENCE_MS_MAX);
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
fn no_procedure_takes_a_range_past_the_last_byte() {
    let lock = Lock { offset: LAST_BYTE, length: 2, ..LOCK };
    let origin = origin();
    let (call, cookie) = (call(&origin), ARGS.cookie);
    let answers = [
        procedures::test(&TestArgs { cookie, exclusive: true, lock }, &call),
        procedures::lock(&LockArgs { lock, ..ARGS }, &call),
        procedures::cancel(&CancelArgs { cookie, block: true, exclusive: true, lock }, &call),
        procedures::unlock(&UnlockArgs { cookie, lock }, &call),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Refusal::TooBig)), "{answer:?}");
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
