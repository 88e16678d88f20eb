//! Our codec against an independent one, generated from the specification's own text, and against
//! bytes written by hand.

#![allow(missing_docs)]

#[path = "oracle/nlm4_generated.rs"]
#[allow(clippy::all, clippy::cast_possible_truncation, non_camel_case_types, unused)]
mod oracle;

use cleat_nlm::nsm::{Name, StatRes, StateChange};
use cleat_nlm::wire::{
    CALLER_NAME_BYTES_MAX, CancelArgs, FILE_HANDLE_BYTES_MAX, Holder, Lock, LockArgs,
    NETOBJ_BYTES_MAX, Notify, Res, Stat, TestArgs, TestReply, TestRes, UnlockArgs,
};
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};
use proptest::collection::vec;
use proptest::prelude::*;

fn written(value: &impl Encode) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(value);
    writer.into_bytes().to_vec()
}

fn read<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, XdrError> {
    let mut reader = Reader::new(bytes);
    let value = reader.get()?;
    reader.finish()?;
    Ok(value)
}

fn packed(value: &impl xdr_codec::Pack<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    xdr_codec::pack(value, &mut bytes).expect("the oracle writes");
    bytes
}

fn unpacked<T>(mut bytes: &[u8]) -> T
where
    T: for<'a> xdr_codec::Unpack<&'a [u8]>,
{
    xdr_codec::unpack(&mut bytes).expect("the oracle reads")
}

/// Both codecs write the same bytes, each reads what the other wrote, and no part of the bytes
/// passes for the whole.
macro_rules! agree {
    ($ours:expr, $ours_type:ty, $theirs:expr, $theirs_type:ty) => {{
        let (ours, theirs) = ($ours, $theirs);
        let bytes = written(&ours);
        prop_assert_eq!(&bytes, &packed(&theirs));
        prop_assert_eq!(read::<$ours_type>(&bytes), Ok(ours));
        prop_assert_eq!(unpacked::<$theirs_type>(&bytes), theirs);
        for end in 0..bytes.len() {
            prop_assert_eq!(read::<$ours_type>(&bytes[..end]), Err(XdrError::Short));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(read::<$ours_type>(&longer), Err(XdrError::Trailing(1)));
    }};
}

prop_compose! {
    fn their_lock()(
        caller_name in vec(any::<u8>(), 0..40),
        fh in vec(any::<u8>(), 0..=FILE_HANDLE_BYTES_MAX),
        oh in vec(any::<u8>(), 0..40),
        svid: u32, l_offset: u64, l_len: u64,
    ) -> oracle::nlm4_lock {
        let (fh, oh) = (oracle::netobj(fh), oracle::netobj(oh));
        oracle::nlm4_lock { caller_name, fh, oh, svid, l_offset, l_len }
    }
}

fn our_lock(theirs: &oracle::nlm4_lock) -> Lock<'_> {
    Lock {
        caller_name: &theirs.caller_name,
        fh: &theirs.fh.0,
        oh: &theirs.oh.0,
        svid: theirs.svid,
        offset: theirs.l_offset,
        length: theirs.l_len,
    }
}

const STATS: [(Stat, oracle::nlm4_stats, oracle::nlm4_testrply); 9] = {
    use oracle::{nlm4_stats as s, nlm4_testrply as r};
    [
        (Stat::Granted, s::NLM4_GRANTED, r::NLM4_GRANTED),
        (Stat::DeniedNolocks, s::NLM4_DENIED_NOLOCKS, r::NLM4_DENIED_NOLOCKS),
        (Stat::Blocked, s::NLM4_BLOCKED, r::NLM4_BLOCKED),
        (Stat::DeniedGracePeriod, s::NLM4_DENIED_GRACE_PERIOD, r::NLM4_DENIED_GRACE_PERIOD),
        (Stat::Deadlock, s::NLM4_DEADLCK, r::NLM4_DEADLCK),
        (Stat::ReadOnly, s::NLM4_ROFS, r::NLM4_ROFS),
        (Stat::StaleHandle, s::NLM4_STALE_FH, r::NLM4_STALE_FH),
        (Stat::TooBig, s::NLM4_FBIG, r::NLM4_FBIG),
        (Stat::Failed, s::NLM4_FAILED, r::NLM4_FAILED),
    ]
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lockargs(
        cookie in vec(any::<u8>(), 0..=32),
        alock in their_lock(), block: bool, exclusive: bool, reclaim: bool, state: i32,
    ) {
        let lock = our_lock(&alock);
        let ours = LockArgs { cookie: &cookie, block, exclusive, lock, reclaim, state };
        let (cookie, alock) = (oracle::netobj(cookie.clone()), alock.clone());
        let theirs = oracle::nlm4_lockargs { cookie, block, exclusive, alock, reclaim, state };
        agree!(ours, LockArgs<'_>, theirs, oracle::nlm4_lockargs);
    }

    #[test]
    fn testargs_cancargs_and_unlockargs(
        cookie in vec(any::<u8>(), 0..=32), alock in their_lock(), block: bool, exclusive: bool,
    ) {
        let lock = our_lock(&alock);
        let (their_cookie, alock) = (oracle::netobj(cookie.clone()), alock.clone());
        let theirs = oracle::nlm4_testargs {
            cookie: their_cookie.clone(), exclusive, alock: alock.clone(),
        };
        agree!(TestArgs { cookie: &cookie, exclusive, lock }, TestArgs<'_>,
            theirs, oracle::nlm4_testargs);
        let theirs = oracle::nlm4_cancargs {
            cookie: their_cookie.clone(), block, exclusive, alock: alock.clone(),
        };
        agree!(CancelArgs { cookie: &cookie, block, exclusive, lock }, CancelArgs<'_>,
            theirs, oracle::nlm4_cancargs);
        let theirs = oracle::nlm4_unlockargs { cookie: their_cookie, alock };
        agree!(UnlockArgs { cookie: &cookie, lock }, UnlockArgs<'_>,
            theirs, oracle::nlm4_unlockargs);
    }

    #[test]
    fn res_and_testres(cookie in vec(any::<u8>(), 0..=32), which in 0..STATS.len()) {
        let (stat, their_stat, their_reply) = STATS[which].clone();
        let their_cookie = oracle::netobj(cookie.clone());
        let theirs = oracle::nlm4_res {
            cookie: their_cookie.clone(), stat: oracle::nlm4_stat { stat: their_stat },
        };
        agree!(Res { cookie: &cookie, stat }, Res<'_>, theirs, oracle::nlm4_res);
        let theirs = oracle::nlm4_testres { cookie: their_cookie, test_stat: their_reply };
        agree!(TestRes { cookie: &cookie, reply: TestReply::Stat(stat) }, TestRes<'_>,
            theirs, oracle::nlm4_testres);
    }

    #[test]
    fn testres_with_its_holder(
        cookie in vec(any::<u8>(), 0..=32), oh in vec(any::<u8>(), 0..40),
        exclusive: bool, svid: u32, offset: u64, length: u64,
    ) {
        let reply = TestReply::Denied(Holder { exclusive, svid, oh: &oh, offset, length });
        let holder = oracle::nlm4_holder {
            exclusive, svid, oh: oracle::netobj(oh.clone()), l_offset: offset, l_len: length,
        };
        let theirs = oracle::nlm4_testres {
            cookie: oracle::netobj(cookie.clone()),
            test_stat: oracle::nlm4_testrply::NLM4_DENIED(holder),
        };
        agree!(TestRes { cookie: &cookie, reply }, TestRes<'_>, theirs, oracle::nlm4_testres);
    }

    #[test]
    fn notify_and_the_status_monitor(name in vec(any::<u8>(), 0..40), state: i32, success: bool) {
        let theirs = oracle::nlm4_notify { name: name.clone(), state };
        agree!(Notify { name: &name, state }, Notify<'_>, theirs, oracle::nlm4_notify);
        let theirs = oracle::sm_name { mon_name: name.clone() };
        agree!(Name { mon_name: &name }, Name<'_>, theirs, oracle::sm_name);
        let theirs = oracle::stat_chge { mon_name: name.clone(), state };
        agree!(StateChange { mon_name: &name, state }, StateChange<'_>, theirs, oracle::stat_chge);
        let res_stat =
            if success { oracle::sm_res::STAT_SUCC } else { oracle::sm_res::STAT_FAIL };
        let theirs = oracle::sm_stat_res { res_stat, state };
        agree!(StatRes { success, state }, StatRes, theirs, oracle::sm_stat_res);
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes: Vec<u8>) {
        let _ = read::<LockArgs<'_>>(&bytes);
        let _ = read::<TestArgs<'_>>(&bytes);
        let _ = read::<CancelArgs<'_>>(&bytes);
        let _ = read::<UnlockArgs<'_>>(&bytes);
        let _ = read::<TestRes<'_>>(&bytes);
        let _ = read::<StateChange<'_>>(&bytes);
    }
}

/// The longest fields are read, and one byte more is not.
#[test]
fn every_field_has_its_maximum() {
    let long = vec![7; 1025];
    let args = |cookie: usize, name: usize, fh: usize, oh: usize| {
        let lock = Lock {
            caller_name: &long[..name],
            fh: &long[..fh],
            oh: &long[..oh],
            svid: 1,
            offset: 0,
            length: 0,
        };
        written(&UnlockArgs { cookie: &long[..cookie], lock })
    };
    let (netobj, name, fh) = (NETOBJ_BYTES_MAX, CALLER_NAME_BYTES_MAX, FILE_HANDLE_BYTES_MAX);
    assert!(read::<UnlockArgs<'_>>(&args(netobj, name, fh, netobj)).is_ok());
    for (bytes, max, got) in [
        (args(netobj + 1, name, fh, netobj), netobj, 1025),
        (args(netobj, name + 1, fh, netobj), name, 1025),
        (args(netobj, name, fh + 1, netobj), fh, 65),
        (args(netobj, name, fh, netobj + 1), netobj, 1025),
    ] {
        assert_eq!(read::<UnlockArgs<'_>>(&bytes), Err(XdrError::TooLong { max, got }));
    }
}

/// What fcntl(F_SETLKW, F_WRLCK, 100, 10) of the first process on `guest1` sends from Linux, its
/// fields set down by hand from the specification: a cookie of four bytes, `oh` "0@guest1".
#[test]
fn a_linux_client_asks_for_a_lock() {
    let record: &[&[u8]] = &[
        b"\0\0\0\x04",
        b"\0\0\0\x2a",
        b"\0\0\0\x01", // block
        b"\0\0\0\x01", // exclusive
        b"\0\0\0\x06guest1\0\0",
        b"\0\0\0\x05\x01\x02\x03\x04\x05\0\0\0",
        b"\0\0\0\x080@guest1",
        b"\0\0\0\0", // svid
        b"\0\0\0\0\0\0\0\x64",
        b"\0\0\0\0\0\0\0\x0a",
        b"\0\0\0\0",   // reclaim
        b"\0\0\0\x03", // state
    ];
    let lock = Lock {
        caller_name: b"guest1",
        fh: &[1, 2, 3, 4, 5],
        oh: b"0@guest1",
        svid: 0,
        offset: 100,
        length: 10,
    };
    let args = LockArgs {
        cookie: &[0, 0, 0, 42],
        block: true,
        exclusive: true,
        lock,
        reclaim: false,
        state: 3,
    };
    let record = record.concat();
    assert_eq!(read::<LockArgs<'_>>(&record), Ok(args));
    assert_eq!(written(&args), record);
    let blocked = Res { cookie: args.cookie, stat: Stat::Blocked };
    assert_eq!(written(&blocked), b"\0\0\0\x04\0\0\0\x2a\0\0\0\x03");
}

#[test]
fn an_empty_cookie_comes_back_empty() {
    let granted = Res { cookie: &[], stat: Stat::Granted };
    assert_eq!(written(&granted), [0; 8]);
    assert_eq!(read::<Res<'_>>(&[0; 8]), Ok(granted));
}

#[test]
fn a_status_or_a_boolean_that_does_not_exist_is_an_error() {
    assert_eq!(read::<Res<'_>>(b"\0\0\0\0\0\0\0\x0a"), Err(XdrError::BadValue(10)));
    assert_eq!(read::<TestArgs<'_>>(b"\0\0\0\0\0\0\0\x02"), Err(XdrError::BadValue(2)));
    assert_eq!(read::<StatRes>(b"\0\0\0\x02\0\0\0\x01"), Err(XdrError::BadValue(2)));
}
