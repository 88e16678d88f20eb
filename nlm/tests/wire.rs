//! Our codec against an independent one, generated from the specification's own text, and against
//! bytes written by hand.

#![allow(missing_docs)]
#![allow(clippy::cast_possible_truncation, reason = "what is cast was made to fit")]

#[path = "oracle/nlm_generated.rs"]
#[allow(clippy::all, clippy::cast_possible_truncation, non_camel_case_types, unused)]
mod oracle;

use cleat_lock::Access;
use cleat_nlm::nsm::{Name, StatRes, StateChange};
use cleat_nlm::wire::{
    CALLER_NAME_BYTES_MAX, CancelArgs, FILE_HANDLE_BYTES_MAX, Holder, Lock, LockArgs,
    NETOBJ_BYTES_MAX, Notify, Res, Share, ShareArgs, ShareRes, Stat, TestArgs, TestReply, TestRes,
    UnlockArgs,
};
use cleat_nlm::{Message, Version};
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};
use proptest::collection::vec;
use proptest::prelude::*;

fn written(value: &impl Encode) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(value);
    writer.into_bytes().to_vec()
}

fn written_as<'a>(value: &impl Message<'a>, version: Version) -> Vec<u8> {
    let mut writer = Writer::new();
    value.write(&mut writer, version);
    writer.into_bytes().to_vec()
}

fn read<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, XdrError> {
    let mut reader = Reader::new(bytes);
    let value = reader.get()?;
    reader.finish()?;
    Ok(value)
}

fn read_as<'a, T: Message<'a>>(bytes: &'a [u8], version: Version) -> Result<T, XdrError> {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader, version)?;
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
    ($ours:expr, $written:expr, $read:expr, $theirs:expr, $theirs_type:ty) => {{
        let (ours, theirs, bytes, read) = ($ours, $theirs, $written, $read);
        prop_assert_eq!(&bytes, &packed(&theirs));
        prop_assert_eq!(read(&bytes), Ok(ours));
        prop_assert_eq!(unpacked::<$theirs_type>(&bytes), theirs);
        for end in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..end]), Err(XdrError::Short));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(read(&longer), Err(XdrError::Trailing(1)));
    }};
}

macro_rules! agree_as {
    ($version:expr, $ours:expr, $ours_type:ty, $theirs:expr, $theirs_type:ty) => {{
        let ours = $ours;
        let read = |bytes: &[u8]| {
            // The value borrows from bytes that go; it is compared before they do.
            let value = read_as::<$ours_type>(bytes, $version)?;
            assert_eq!(value, ours);
            Ok(ours)
        };
        agree!(ours, written_as(&ours, $version), read, $theirs, $theirs_type);
    }};
}

macro_rules! agree_nsm {
    ($ours:expr, $ours_type:ty, $theirs:expr, $theirs_type:ty) => {{
        let ours = $ours;
        let read = |bytes: &[u8]| {
            let value = read::<$ours_type>(bytes)?;
            assert_eq!(value, ours);
            Ok(ours)
        };
        agree!(ours, written(&ours), read, $theirs, $theirs_type);
    }};
}

/// What a request says, in the types of the code that is under test.
#[derive(Debug, Clone)]
struct Said {
    cookie: Vec<u8>,
    caller_name: Vec<u8>,
    fh: Vec<u8>,
    oh: Vec<u8>,
    svid: u32,
    offset: u64,
    length: u64,
    block: bool,
    exclusive: bool,
    reclaim: bool,
    state: i32,
    deny: usize,
    access: usize,
}

prop_compose! {
    fn said(offset_max: u64, fh_bytes_max: usize)(
        cookie in vec(any::<u8>(), 0..=32),
        caller_name in vec(any::<u8>(), 0..40),
        fh in vec(any::<u8>(), 0..=fh_bytes_max),
        oh in vec(any::<u8>(), 0..40),
        svid: u32, offset in 0..=offset_max, length in 0..=offset_max,
        (block, exclusive, reclaim) in any::<(bool, bool, bool)>(), state: i32,
        deny in 0..4_usize, access in 0..4_usize,
    ) -> Said {
        Said {
            cookie, caller_name, fh, oh, svid, offset, length, block, exclusive, reclaim, state,
            deny, access,
        }
    }
}

impl Said {
    fn lock(&self) -> Lock<'_> {
        let Self { caller_name, fh, oh, svid, offset, length, .. } = self;
        Lock { caller_name, fh, oh, svid: *svid, offset: *offset, length: *length }
    }

    fn share(&self) -> Share<'_> {
        let Self { caller_name, fh, oh, deny, access, .. } = self;
        let (deny, access) = (Access::ALL[*deny], Access::ALL[*access]);
        Share { caller_name, fh, oh, deny, access }
    }
}

/// The tests of one width: the generated types of its versions, and the integers that they have.
macro_rules! requests_agree {
    (
        $name:ident, $versions:expr, $svid:ty, $offset:ty, $fh_bytes_max:expr,
        $lock:ident $lockargs:ident $testargs:ident $cancargs:ident $unlockargs:ident
        $share:ident $shareargs:ident $modes:expr, $accesses:expr
    ) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(32))]

            #[test]
            fn $name(said in said(<$offset>::MAX.into(), $fh_bytes_max), which: prop::sample::Index) {
                let version = *which.get(&$versions[..]);
                let Said { block, exclusive, reclaim, state, .. } = said;
                let (our_cookie, lock) = (&said.cookie[..], said.lock());
                let (caller_name, netobj) = (said.caller_name.clone(), oracle::netobj);
                let cookie = || netobj(said.cookie.clone());
                let (fh, oh) = (netobj(said.fh.clone()), netobj(said.oh.clone()));
                let (l_offset, l_len) = (said.offset as $offset, said.length as $offset);
                let svid = said.svid as $svid;
                let share = oracle::$share {
                    caller_name: caller_name.clone(),
                    fh: fh.clone(),
                    oh: oh.clone(),
                    mode: $modes[said.deny],
                    access: $accesses[said.access],
                };
                let alock = oracle::$lock { caller_name, fh, oh, svid, l_offset, l_len };

                let theirs = oracle::$lockargs {
                    cookie: cookie(), block, exclusive, alock: alock.clone(), reclaim, state,
                };
                let ours =
                    LockArgs { cookie: our_cookie, block, exclusive, lock, reclaim, state };
                agree_as!(version, ours, LockArgs<'_>, theirs, oracle::$lockargs);
                let theirs =
                    oracle::$testargs { cookie: cookie(), exclusive, alock: alock.clone() };
                let ours = TestArgs { cookie: our_cookie, exclusive, lock };
                agree_as!(version, ours, TestArgs<'_>, theirs, oracle::$testargs);
                let theirs =
                    oracle::$cancargs { cookie: cookie(), block, exclusive, alock: alock.clone() };
                let ours = CancelArgs { cookie: our_cookie, block, exclusive, lock };
                agree_as!(version, ours, CancelArgs<'_>, theirs, oracle::$cancargs);
                let theirs = oracle::$unlockargs { cookie: cookie(), alock };
                let ours = UnlockArgs { cookie: our_cookie, lock };
                agree_as!(version, ours, UnlockArgs<'_>, theirs, oracle::$unlockargs);
                let theirs = oracle::$shareargs { cookie: cookie(), share, reclaim };
                let ours = ShareArgs { cookie: our_cookie, share: said.share(), reclaim };
                agree_as!(version, ours, ShareArgs<'_>, theirs, oracle::$shareargs);
            }
        }
    };
}

requests_agree!(
    requests_of_version_4, [Version::V4], u32, u64, FILE_HANDLE_BYTES_MAX,
    nlm4_lock nlm4_lockargs nlm4_testargs nlm4_cancargs nlm4_unlockargs
    nlm4_share nlm4_shareargs
    [
        oracle::fsh4_mode::fsm4_DN,
        oracle::fsh4_mode::fsm4_DR,
        oracle::fsh4_mode::fsm4_DW,
        oracle::fsh4_mode::fsm4_DRW,
    ],
    [
        oracle::fsh4_access::fsa4_NONE,
        oracle::fsh4_access::fsa4_R,
        oracle::fsh4_access::fsa4_W,
        oracle::fsh4_access::fsa4_RW,
    ]
);

requests_agree!(
    requests_of_versions_1_and_3, [Version::V1, Version::V3], i32, u32, 200,
    nlm_lock nlm_lockargs nlm_testargs nlm_cancargs nlm_unlockargs
    nlm_share nlm_shareargs
    [
        oracle::fsh_mode::fsm_DN,
        oracle::fsh_mode::fsm_DR,
        oracle::fsh_mode::fsm_DW,
        oracle::fsh_mode::fsm_DRW,
    ],
    [
        oracle::fsh_access::fsa_NONE,
        oracle::fsh_access::fsa_R,
        oracle::fsh_access::fsa_W,
        oracle::fsh_access::fsa_RW,
    ]
);

/// The same for the results.
macro_rules! results_agree {
    (
        $name:ident, $versions:expr, $svid:ty, $offset:ty, $stats:expr, $denied:path,
        $res:ident $stat:ident $testres:ident $holder:ident $shareres:ident $notify:ident
    ) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(32))]

            #[test]
            fn $name(
                said in said(<$offset>::MAX.into(), 0),
                which: prop::sample::Index, version: prop::sample::Index,
            ) {
                let version = *version.get(&$versions[..]);
                let (stat, their_stat, their_reply) = which.get(&$stats).clone();
                let our_cookie = &said.cookie[..];
                let cookie = || oracle::netobj(said.cookie.clone());
                let theirs = oracle::$res {
                    cookie: cookie(), stat: oracle::$stat { stat: their_stat },
                };
                agree_as!(version, Res { cookie: our_cookie, stat }, Res<'_>,
                    theirs, oracle::$res);
                let theirs = oracle::$testres { cookie: cookie(), test_stat: their_reply };
                let ours = TestRes { cookie: our_cookie, reply: TestReply::Stat(stat) };
                agree_as!(version, ours, TestRes<'_>, theirs, oracle::$testres);
                let Said { exclusive, svid, ref oh, offset, length, .. } = said;
                let holder = Holder { exclusive, svid, oh, offset, length };
                let ours = TestRes { cookie: our_cookie, reply: TestReply::Denied(holder) };
                let holder = oracle::$holder {
                    exclusive,
                    svid: svid as $svid,
                    oh: oracle::netobj(oh.clone()),
                    l_offset: offset as $offset,
                    l_len: length as $offset,
                };
                let theirs = oracle::$testres { cookie: cookie(), test_stat: $denied(holder) };
                agree_as!(version, ours, TestRes<'_>, theirs, oracle::$testres);
                let sequence = said.state;
                let theirs = oracle::$shareres { cookie: cookie(), stat: their_stat, sequence };
                let ours = ShareRes { cookie: our_cookie, stat, sequence };
                agree_as!(version, ours, ShareRes<'_>, theirs, oracle::$shareres);
                let (name, state) = (said.caller_name.clone(), said.state);
                let ours = Notify { name: &said.caller_name, state };
                agree_as!(version, ours, Notify<'_>, oracle::$notify { name, state },
                    oracle::$notify);
            }
        }
    };
}

results_agree!(
    results_of_version_4, [Version::V4], u32, u64,
    {
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
    },
    oracle::nlm4_testrply::NLM4_DENIED,
    nlm4_res nlm4_stat nlm4_testres nlm4_holder nlm4_shareres nlm4_notify
);

results_agree!(
    results_of_versions_1_and_3, [Version::V1, Version::V3], i32, u32,
    {
        use oracle::{nlm_stats as s, nlm_testrply as r};
        [
            (Stat::Granted, s::LCK_GRANTED, r::LCK_GRANTED),
            (Stat::DeniedNolocks, s::LCK_DENIED_NOLOCKS, r::LCK_DENIED_NOLOCKS),
            (Stat::Blocked, s::LCK_BLOCKED, r::LCK_BLOCKED),
            (Stat::DeniedGracePeriod, s::LCK_DENIED_GRACE_PERIOD, r::LCK_DENIED_GRACE_PERIOD),
        ]
    },
    oracle::nlm_testrply::LCK_DENIED,
    nlm_res nlm_stat nlm_testres nlm_holder nlm_shareres nlm_notify
);

/// No status that a version lacks is ever one that is sent in it.
#[test]
fn versions_1_and_3_never_send_a_status_that_they_lack() {
    for number in 0..10_u32 {
        let stat: Stat = read(&number.to_be_bytes()).expect("a status");
        assert_eq!(Version::V4.stat(stat) as u32, number);
        for version in [Version::V1, Version::V3] {
            let sent = version.stat(stat) as u32;
            assert!(if number < 5 { sent == number } else { sent == 1 || sent == 2 });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_status_monitor(name in vec(any::<u8>(), 0..40), state: i32, success: bool) {
        let theirs = oracle::sm_name { mon_name: name.clone() };
        agree_nsm!(Name { mon_name: &name }, Name<'_>, theirs, oracle::sm_name);
        let theirs = oracle::stat_chge { mon_name: name.clone(), state };
        let ours = StateChange { mon_name: &name, state };
        agree_nsm!(ours, StateChange<'_>, theirs, oracle::stat_chge);
        let res_stat =
            if success { oracle::sm_res::STAT_SUCC } else { oracle::sm_res::STAT_FAIL };
        let theirs = oracle::sm_stat_res { res_stat, state };
        agree_nsm!(StatRes { success, state }, StatRes, theirs, oracle::sm_stat_res);
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes: Vec<u8>) {
        for version in Version::ALL {
            let _ = read_as::<LockArgs<'_>>(&bytes, version);
            let _ = read_as::<TestArgs<'_>>(&bytes, version);
            let _ = read_as::<CancelArgs<'_>>(&bytes, version);
            let _ = read_as::<UnlockArgs<'_>>(&bytes, version);
            let _ = read_as::<ShareArgs<'_>>(&bytes, version);
            let _ = read_as::<TestRes<'_>>(&bytes, version);
            let _ = read_as::<ShareRes<'_>>(&bytes, version);
        }
        let _ = read::<StateChange<'_>>(&bytes);
    }
}

/// A 32-bit version permits handles of any length; what they name is looked for later.
#[test]
fn a_handle_of_versions_1_and_3_has_up_to_1024_bytes() {
    let fh = [7; NETOBJ_BYTES_MAX + 1];
    let lock = |length: usize| Lock {
        caller_name: b"a",
        fh: &fh[..length],
        oh: b"o",
        svid: 1,
        offset: 0,
        length: 0,
    };
    for (length, readable) in [(65, true), (NETOBJ_BYTES_MAX, true), (NETOBJ_BYTES_MAX + 1, false)]
    {
        let bytes = written_as(&lock(length), Version::V3);
        assert_eq!(read_as::<Lock<'_>>(&bytes, Version::V3).is_ok(), readable, "{length}");
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
