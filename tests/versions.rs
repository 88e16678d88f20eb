//! NLM 1 and 3 beside version 4, and the procedures of PC clients: through the whole server.

mod harness;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cleat_lock::Access;
use cleat_nlm::wire::Stat;
use cleat_nlm::{Procedure, Version};
use cleat_rpc::message::ReplyError;
use harness::host::{Host, own_network};
use harness::{Client, EXCLUSIVE, RECLAIM, SHARED, Server, Site, WAIT, until};

const SOON: Duration = Duration::from_secs(5);
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const OLD: [Version; 2] = [Version::V1, Version::V3];
/// The last byte that a client of versions 1 and 3 can name.
const LAST_32: u64 = 0x7fff_ffff;

fn speaking(version: Version, mut client: Client) -> Client {
    client.version = version;
    client
}

#[test]
fn a_lock_of_one_version_excludes_those_of_the_others() {
    let site = Site::new();
    let server = site.serve();
    let mut new = Client::connect_from(&server, "new", A);
    let file = new.file(&site);
    for version in OLD {
        for udp in [false, true] {
            let old = if udp {
                Client::over_udp(server.address, "old", B)
            } else {
                Client::connect_from(&server, "old", B)
            };
            let mut old = speaking(version, old);
            assert_eq!(old.lock(&file, 7, (10, 5), EXCLUSIVE), Stat::Granted);
            assert_eq!(new.lock(&file, 1, (14, 1), SHARED), Stat::Denied);
            assert_eq!(new.test(&file, 1, (0, 0), true), Err((7, 10, 5)));
            assert_eq!(new.lock(&file, 1, (15, 0), EXCLUSIVE), Stat::Granted);
            assert_eq!(old.lock(&file, 7, (15, 1), EXCLUSIVE), Stat::Denied);
            assert_eq!(old.test(&file, 7, (0, 0), true), Err((1, 15, 0)));
            assert_eq!(old.test(&file, 7, (0, 15), true), Ok(Stat::Granted));
            assert_eq!(old.lock(&file, 7, (15, 1), WAIT), Stat::Blocked);
            assert_eq!(old.cancel(&file, 7, (15, 1), true), Stat::Granted);
            assert_eq!(new.unlock(&file, 1, (0, 0)), Stat::Granted);
            assert_eq!(old.unlock(&file, 7, (0, 0)), Stat::Granted);
        }
    }
}

#[test]
fn a_range_past_32_bits_reaches_to_the_end_and_holders_beyond_are_told_in_32() {
    let site = Site::new();
    let server = site.serve();
    let mut new = Client::connect_from(&server, "new", A);
    let file = new.file(&site);
    for version in OLD {
        let mut old = speaking(version, Client::connect_from(&server, "old", B));
        assert_eq!(new.lock(&file, 1, (1 << 40, 7), EXCLUSIVE), Stat::Granted);
        assert_eq!(old.test(&file, 7, (0, 0), true), Err((1, LAST_32, 0)));
        assert_eq!(old.lock(&file, 7, (0, LAST_32 + 1), EXCLUSIVE), Stat::Granted);
        assert_eq!(old.lock(&file, 7, (LAST_32, 2), EXCLUSIVE), Stat::Denied);
        assert_eq!(new.unlock(&file, 1, (0, 0)), Stat::Granted);
        assert_eq!(old.lock(&file, 7, (LAST_32, 2), EXCLUSIVE), Stat::Granted);
        assert_eq!(new.lock(&file, 1, (1 << 40, 7), EXCLUSIVE), Stat::Denied);
        assert_eq!(new.test(&file, 1, (1 << 40, 7), true), Err((7, 0, 0)));
        assert_eq!(old.unlock(&file, 7, (LAST_32, 2)), Stat::Granted);
        assert_eq!(new.test(&file, 1, (0, 0), true), Err((7, 0, LAST_32)));
        assert_eq!(old.unlock(&file, 7, (0, 0)), Stat::Granted);
    }
}

#[test]
fn what_versions_1_and_3_cannot_say_becomes_what_lockd_makes_of_it() {
    let site = Site::new();
    let read_only = format!("{}:ro", site.export.display());
    let server = Server::start(site.path(), &["--export", &read_only]);
    let mut new = Client::connect(&server, "new");
    let root = new.mount(&site.export).expect("mounted");
    let file = new.lookup(&root, "file").expect("found");
    let long = [7; 1024];
    for version in OLD {
        let mut old = speaking(version, Client::connect_from(&server, "old", B));
        for (fh, how) in [(&file[..], EXCLUSIVE), (b"stale", SHARED), (&long, SHARED)] {
            assert_eq!(old.lock(fh, 1, (0, 1), how), Stat::DeniedNolocks);
        }
        assert_eq!(old.lock(&root, 1, (0, 1), SHARED), Stat::DeniedNolocks);
        assert_eq!(old.test(b"stale", 1, (0, 1), true), Ok(Stat::DeniedNolocks));
        assert_eq!(old.lock(&file, 1, (0, 1), SHARED), Stat::Granted);
        assert_eq!(old.unlock(&file, 1, (0, 1)), Stat::Granted);
    }
}

#[test]
fn a_deadlock_is_a_denial_to_versions_1_and_3() {
    let site = Site::new();
    let server = site.serve();
    let mut new = Client::connect_from(&server, "new", A);
    let mut old = speaking(Version::V3, Client::connect_from(&server, "old", B));
    let file = new.file(&site);
    assert_eq!(new.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(old.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(new.lock(&file, 1, (1, 1), WAIT), Stat::Blocked);
    assert_eq!(old.lock(&file, 1, (0, 1), WAIT), Stat::Denied);
}

#[test]
fn versions_have_the_procedures_that_they_have() {
    let site = Site::new();
    let server = site.serve();
    let mut client = Client::connect(&server, "a");
    let program = cleat_nlm::wire::PROGRAM;
    let nothing = |_: &mut cleat_rpc::Writer| {};
    for (version, null) in [(0, 2), (1, 9), (2, 2), (3, 9), (4, 9), (5, 2)] {
        // 9: no such fault, the call is run. 2: PROG_MISMATCH.
        let answer = client.call((program, version), 0, &nothing);
        assert_eq!(answer, if null == 9 { Ok(vec![]) } else { Err(ReplyError::NotRun(null)) });
    }
    for version in Version::ALL {
        for number in 0..30 {
            let answer = client.call((program, version.number()), number, &nothing);
            // 3: PROC_UNAVAIL. 4: GARBAGE_ARGS.
            let expected = match Procedure::of(version, number) {
                Some(Procedure::Null) => Ok(vec![]),
                Some(_) => Err(ReplyError::NotRun(4)),
                None => Err(ReplyError::NotRun(3)),
            };
            assert_eq!(answer, expected, "{version:?} {number}");
        }
    }
}

#[test]
fn shares_are_enforced_against_each_other() {
    let site = Site::new();
    let server = site.serve();
    let mut new = Client::connect_from(&server, "new", A);
    let mut old = speaking(Version::V3, Client::over_udp(server.address, "old", B));
    let file = new.file(&site);
    let ask = |access, deny| Some((access, deny, false));
    use Access::{Both, None as Nothing, Read, Write};
    assert_eq!(new.share(&file, "p1", ask(Read, Write)), Stat::Granted);
    assert_eq!(old.share(&file, "p1", ask(Write, Nothing)), Stat::Denied);
    assert_eq!(old.share(&file, "p1", ask(Read, Read)), Stat::Denied);
    assert_eq!(old.share(&file, "p1", ask(Read, Write)), Stat::Granted);
    // An owner is its client and its handle: another of the same client is another.
    assert_eq!(new.share(&file, "p2", ask(Write, Nothing)), Stat::Denied);
    // Its own reservation is replaced, where no other's is in the way.
    assert_eq!(new.share(&file, "p1", ask(Both, Write)), Stat::Denied);
    assert_eq!(old.share(&file, "p1", None), Stat::Granted);
    assert_eq!(old.share(&file, "p1", None), Stat::Granted, "there is none");
    assert_eq!(new.share(&file, "p1", ask(Both, Both)), Stat::Granted);
    assert_eq!(old.share(&file, "p1", ask(Read, Nothing)), Stat::Denied);
    // Byte ranges are another matter.
    assert_eq!(old.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(old.share(b"stale", "p1", ask(Read, Nothing)), Stat::DeniedNolocks);
    new.free_all();
    assert_eq!(old.share(&file, "p1", ask(Both, Both)), Stat::Granted);
}

#[test]
fn shares_survive_a_restart_and_are_reclaimed() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    let ask = |reclaim| Some((Access::Both, Access::Write, reclaim));
    assert_eq!(a.share(&file, "p", ask(false)), Stat::Granted);
    server.kill();
    let server = site.serve();
    // By another way than it came: the owner is the same.
    let mut a = speaking(Version::V3, Client::over_udp(server.address, "a", A));
    let mut b = Client::connect_from(&server, "b", B);
    assert_eq!(b.share(&file, "p", ask(false)), Stat::DeniedGracePeriod);
    assert_eq!(b.share(&file, "p", ask(true)), Stat::Denied);
    assert_eq!(a.share(&file, "p", ask(true)), Stat::Granted);
    until(SOON, Stat::Denied, || b.share(&file, "p", ask(false)));
    assert_eq!(a.share(&file, "p", None), Stat::Granted);
    assert_eq!(b.share(&file, "p", ask(false)), Stat::Granted);
    assert_eq!(a.share(&file, "p", ask(true)), Stat::Denied, "no window admits it any more");
}

#[test]
fn a_client_that_restarts_loses_its_shares_and_keeps_those_it_took_since() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let mut b = Client::connect_from(&server, "b", B);
    let file = a.file(&site);
    let ask = || Some((Access::Both, Access::Both, false));
    assert_eq!(a.share(&file, "p", ask()), Stat::Granted);
    assert_eq!(b.share(&file, "p", ask()), Stat::Denied);
    a.notify("a", 3);
    assert_eq!(b.share(&file, "p", ask()), Stat::Granted);
    assert_eq!(b.share(&file, "p", None), Stat::Granted);
    assert_eq!(a.share(&file, "p", ask()), Stat::Granted);
    // The notice is sent again, as such notices are.
    a.notify("a", 3);
    assert_eq!(b.share(&file, "p", ask()), Stat::Denied);
}

#[test]
fn nm_lock_locks_and_its_client_is_not_told_of_restarts() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut a = Client::connect_from(&server, "a", A);
    let mut b = speaking(Version::V3, Client::connect_from(&server, "b", B));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.nm_lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.nm_lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Denied);
    // It may wait as well, and is called back.
    assert_eq!(b.nm_lock(&file, 2, (0, 1), WAIT), Stat::Blocked);
    assert_eq!(a.unlock(&file, 1, (0, 1)), Stat::Granted);
    assert_eq!((host_b.granted(SOON).svid, b.unlock(&file, 2, (0, 1))), (2, Stat::Granted));
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    let server = site.serve();
    assert_eq!(host_a.notified(1, SOON).len(), 1);
    assert_eq!(host_b.notified(1, Duration::from_millis(500)), []);
    // What it held is on record all the same.
    let mut b = speaking(Version::V3, Client::connect_from(&server, "b", B));
    assert_eq!(b.lock(&file, 1, (1, 1), RECLAIM), Stat::Granted);
    let mut a = Client::connect_at(server.address, "a", SocketAddr::new(A, 0));
    assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Denied);
}
