//! GRANTED from end to end: the server calls fake client hosts back. Each test has a network of
//! its own, so it needs root.

mod harness;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use cleat_nlm::Version;
use cleat_nlm::wire::Stat;
use harness::host::{Granted, Host, Say, own_network};
use harness::{Client, EXCLUSIVE, SHARED, Server, Site, WAIT, until};

const SOON: Duration = Duration::from_secs(5);
/// Longer than the time to the first repetition.
const QUIET: Duration = Duration::from_millis(1500);
const HOLDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// The addresses of the server that clients mounted.
const SERVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11))];
const DENIED: Say = Say::Stat(Stat::Denied);

fn at(server: &Server, ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, server.address.port())
}

/// A server, a client that holds the first ten bytes of a file, and that file.
fn held(site: &Site) -> (Server, Client, Vec<u8>) {
    let server = site.serve_with(&["--grace-s", "20", "--log", "cleat=debug"]);
    let mut holder = Client::connect_from(&server, "holder", HOLDER);
    let file = holder.file(site);
    assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    (server, holder, file)
}

fn expected(from: IpAddr, udp: bool, cookie: &[u8], fh: &[u8], svid: u32) -> Granted {
    let (caller_name, oh) = (b"a".to_vec(), b"owner".to_vec());
    let (cookie, fh) = (cookie.to_vec(), fh.to_vec());
    let (version, message) = (Version::V4, false);
    let (exclusive, range) = (true, (0, 10));
    Granted { from, udp, version, message, cookie, exclusive, caller_name, fh, oh, svid, range }
}

#[test]
fn the_call_comes_as_the_lock_went_and_says_what_it_said() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(A);
    let cookies = [&b""[..], &[7; 32]];
    for (udp, ip, cookie) in
        [(false, SERVER[0], cookies[0]), (true, SERVER[1], cookies[1]), (true, SERVER[0], &[0])]
    {
        let connect = if udp { Client::over_udp } else { Client::connect_to };
        let mut a = connect(at(&server, ip), "a", A);
        a.cookie = cookie.to_vec();
        assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
        host.not_granted(Duration::from_millis(50));
        assert_eq!(holder.unlock(&file, 1, (5, 1)), Stat::Granted);
        host.not_granted(Duration::from_millis(50));
        assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
        assert_eq!(host.granted(SOON), expected(ip, udp, cookie, &file, 7));
        host.not_granted(QUIET);
        assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Denied);
        assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
        assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    }
}

#[test]
fn a_client_that_no_longer_wants_it_keeps_what_it_had_and_the_next_is_served() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut holder = Client::connect_from(&server, "holder", HOLDER);
    let mut a = Client::connect_to(at(&server, SERVER[0]), "a", A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let file = holder.file(&site);
    assert_eq!(holder.lock(&file, 1, (0, 10), SHARED), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 5), SHARED), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 1, (5, 5), WAIT), Stat::Blocked);
    host_a.answers([DENIED]);
    assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(host_a.granted(SOON).range, (0, 10));
    assert_eq!(host_b.granted(SOON).range, (5, 5));
    // The upgrade is undone: others may share the first five bytes again.
    assert_eq!(holder.lock(&file, 1, (0, 5), SHARED), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, (0, 5), EXCLUSIVE), Stat::Denied);
    host_a.not_granted(QUIET);
}

#[test]
fn a_lost_answer_is_asked_for_again_and_its_no_takes_nothing_away() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(A);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
    host.answers([Say::Nothing, DENIED]);
    assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
    let first = host.granted(SOON);
    assert_eq!(host.granted(SOON), first);
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.cancel(&file, 7, (0, 10), true), Stat::Denied);
}

/// The first call met a closed port: the client cannot have acted on it, so its "no" to the second
/// is one.
#[test]
fn a_no_after_a_call_that_nobody_heard_gives_the_lock_to_the_next() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
    let closed = UdpSocket::bind((A, 0)).expect("a port").local_addr().expect("its address");
    let open = host_a.tell_port(closed.port());
    assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
    until(SOON, true, || server.log().contains("GRANTED brought no answer"));
    host_a.answers([DENIED]);
    host_a.tell_port(open);
    assert_eq!(host_a.granted(SOON).svid, 7);
    assert_eq!(host_b.granted(SOON).svid, 7);
}

#[test]
fn what_the_client_does_next_acknowledges_too() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(A);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    for svid in [7, 8] {
        assert_eq!(a.lock(&file, svid, (0, 10), WAIT), Stat::Blocked);
    }
    host.answers([Say::Nothing, Say::Nothing]);
    assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 7);
    // The re-sent LOCK: it heard of it.
    assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Granted);
    host.not_granted(QUIET);
    assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 8);
    // The UNLOCK: it heard of it, and wants it no more.
    assert_eq!(a.unlock(&file, 8, (0, 10)), Stat::Granted);
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_cancel_that_crosses_the_call_leaves_the_decision_to_the_client() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(A);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
    host.answers([Say::Nothing]);
    assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 7);
    assert_eq!(a.cancel(&file, 7, (0, 10), true), Stat::Denied);
    assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    host.not_granted(QUIET);
}

#[test]
fn a_dead_client_delays_nobody_but_itself() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(B);
    // Nothing listens at A; and one whose datagrams vanish there.
    let silent = UdpSocket::bind((A, 111)).expect("a port mapper that says nothing");
    for udp in [false, true] {
        let connect = if udp { Client::over_udp } else { Client::connect_to };
        let mut dead = connect(at(&server, SERVER[0]), "dead", A);
        for svid in 0..20 {
            let range = (u64::from(svid), 1);
            assert_eq!(holder.lock(&file, 1, range, EXCLUSIVE), Stat::Granted);
            assert_eq!(dead.lock(&file, svid, range, WAIT), Stat::Blocked);
        }
    }
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    assert_eq!(holder.lock(&file, 1, (100, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (100, 1), WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, (0, 0)), Stat::Granted);
    assert_eq!(host.granted(Duration::from_secs(1)).range, (100, 1));
    drop(silent);
}

#[test]
fn a_client_reached_over_ipv6_is_called_back_over_it() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let server = Server::start_at(site.path(), "*:2049", &["--export", &export]);
    let ip = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    let host = Host::new(ip);
    let mut holder = Client::connect_to(at(&server, HOLDER), "holder", HOLDER);
    let file = holder.file(&site);
    for udp in [false, true] {
        assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
        let connect = if udp { Client::over_udp } else { Client::connect_to };
        let mut a = connect(at(&server, ip), "a", ip);
        assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
        assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
        assert_eq!(host.granted(SOON), expected(ip, udp, b"cookie", &file, 7));
        assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
    }
}

#[test]
fn a_grant_that_no_client_heard_of_is_told_after_a_restart_of_any_kind() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let mut a = Client::connect_to(at(&server, SERVER[1]), "a", A);
    assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
    // Its port mapper is away.
    assert_eq!(holder.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(server.terminate().code(), Some(0));
    site.serve().kill();
    let host = Host::new(A);
    let server = site.serve();
    assert_eq!(host.granted(SOON), expected(SERVER[1], false, b"cookie", &file, 7));
    let mut holder = Client::connect_from(&server, "holder", HOLDER);
    until(SOON, Stat::Denied, || holder.lock(&file, 1, (0, 10), EXCLUSIVE));
    let mut a = Client::connect_to(at(&server, SERVER[1]), "a", A);
    assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_restarted_client_makes_room_for_who_waits() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(A);
    let mut a = Client::connect_to(at(&server, SERVER[0]), "a", A);
    let mut restarted = Client::over_udp(at(&server, SERVER[1]), "holder", HOLDER);
    assert_eq!(a.lock(&file, 7, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(holder.lock(&file, 2, (20, 1), EXCLUSIVE), Stat::Granted);
    restarted.notify("holder.lab", 3);
    assert_eq!(host.granted(SOON).svid, 7);
    // Of the state that it has now, nothing is released.
    restarted.state = 3;
    assert_eq!(restarted.lock(&file, 2, (30, 1), EXCLUSIVE), Stat::Granted);
    restarted.notify("holder", 3);
    assert_eq!(a.lock(&file, 7, (30, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.lock(&file, 7, (20, 1), EXCLUSIVE), Stat::Granted);
}
