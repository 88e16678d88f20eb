//! GRANTED from end to end: the server calls fake client hosts back. Each test has a network of
//! its own, so it needs root.

mod harness;

use std::net::IpAddr;

use cleat_nlm::Version;
use cleat_nlm::wire::Stat;
use harness::held::{A, B, HOLDER, QUIET, SERVER, SOON, Story, TEN, at, expected, held};
use harness::host::{Host, Say, own_network};
use harness::{Client, EXCLUSIVE, Server, Site, WAIT, until};

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
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
        let connect = if udp { Client::over_udp } else { Client::connect_to };
        let mut a = connect(at(&server, ip), "a", ip);
        assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
        assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
        assert_eq!(host.granted(SOON), expected(ip, udp, b"cookie", &file, 7));
        assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
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
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    // Its port mapper is away.
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(server.terminate().code(), Some(0));
    site.serve().kill();
    let host = Host::new(A);
    let server = site.serve();
    assert_eq!(host.granted(SOON), expected(SERVER[1], false, b"cookie", &file, 7));
    let mut holder = Client::connect_from(&server, "holder", HOLDER);
    until(SOON, Stat::Denied, || holder.lock(&file, 1, TEN, EXCLUSIVE));
    let mut a = Client::connect_to(at(&server, SERVER[1]), "a", A);
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_restarted_client_makes_room_for_who_waits() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server, mut holder, file, host, mut a } = Story::new(&site);
    let mut restarted = Client::over_udp(at(&server, SERVER[1]), "holder", HOLDER);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
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

/// A client that knows grants as messages alone, and waits for the ten bytes.
fn messages_only(site: &Site, version: Version) -> (Server, Client, Vec<u8>, Host, Client) {
    let (server, holder, file) = held(site);
    let host = Host::new(A);
    host.messages_only();
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    a.version = version;
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    (server, holder, file, host, a)
}

#[test]
fn a_client_that_understands_only_messages_is_granted_by_one_and_answers_by_one() {
    for version in Version::ALL {
        if !own_network() {
            return;
        }
        let site = Site::new();
        let (_server, mut holder, file, host, mut a) = messages_only(&site, version);
        assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
        let granted = host.granted(SOON);
        assert!(granted.message && granted.udp && granted.version == version);
        assert_eq!((granted.from, granted.svid, granted.range), (SERVER[0], 7, TEN));
        a.granted_result(&granted.cookie, Stat::Granted);
        host.not_granted(2 * QUIET);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
        // What comes late, or twice, changes nothing.
        a.granted_result(&granted.cookie, Stat::Denied);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
        assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    }
}

#[test]
fn a_denied_result_rolls_the_grant_back_and_serves_the_next() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file, host, mut a) = messages_only(&site, Version::V4);
    let host_b = Host::new(B);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    assert_eq!(b.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    let granted = host.granted(SOON);
    a.granted_result(&granted.cookie, Stat::Denied);
    assert_eq!(host_b.granted(SOON).svid, 7);
    assert_eq!(a.lock(&file, 7, TEN, EXCLUSIVE), Stat::Denied);
}

#[test]
fn a_result_from_another_address_is_ignored() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file, host, mut a) = messages_only(&site, Version::V4);
    let _host_b = Host::new(B);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "a", B);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    let granted = host.granted(SOON);
    b.granted_result(&granted.cookie, Stat::Denied);
    holder.granted_result(&granted.cookie, Stat::Granted);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied, "still a's");
    // It was no answer either: a is told again, by turns.
    assert_ne!(host.granted(SOON).cookie, granted.cookie);
    a.granted_result(&granted.cookie, Stat::Granted);
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_client_that_does_not_answer_calls_is_sent_messages_in_turn() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } =
        Story::over(&site, Client::over_udp);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    host.answers([Say::Nothing, Say::Nothing]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    let calls = [host.granted(SOON), host.granted(SOON)];
    assert!(calls.iter().all(|call| !call.message && call.cookie == a.cookie));
    let message = host.granted(SOON);
    assert!(message.message);
    a.granted_result(&message.cookie, Stat::Granted);
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
}

#[test]
fn the_port_is_found_once_for_locks_that_are_handed_over_one_after_the_other() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    for _ in 0..5 {
        assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
        assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
        assert_eq!(host.granted(SOON).svid, 7);
        assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    }
    assert_eq!(host.questions(), 1);
    assert_eq!(waiting_ports(), 0, "nor does a port wait after any of the calls");
}

/// The ports of this thread's network that are kept from use for a while (TIME_WAIT).
fn waiting_ports() -> usize {
    let connections = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("connections");
    let state = |line: &str| line.split_whitespace().nth(3).map(ToOwned::to_owned);
    connections.lines().filter_map(state).filter(|state| state == "06").count()
}

#[test]
fn a_client_that_came_over_udp_and_listens_on_tcp_alone_is_called_there() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } =
        Story::over(&site, Client::over_udp);
    host.tcp_only();
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON), expected(SERVER[0], false, b"cookie", &file, 7));
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
}

#[test]
fn a_client_that_came_over_udp_and_listens_on_tcp_alone_is_not_taken_for_gone() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve_with(&["--client-lease-s", "5", "--log", "cleat=debug"]);
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    host_a.tcp_only();
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let file = b.file(&site);
    assert_eq!(a.lock(&file, 7, TEN, EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    // It was asked, and a whole lease and more is over.
    until(2 * SOON, true, || host_a.questions() > 0);
    host_b.not_granted(2 * SOON);
    assert!(!server.log().contains("does not answer"), "{}", server.log());
}

#[test]
fn a_client_whose_rpcbind_knows_version_3_alone_is_found_over_ipv6() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let server = Server::start_at(site.path(), "*:2049", &["--export", &export]);
    let ip = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    let host = Host::new(ip);
    host.rpcbind_3();
    let mut holder = Client::connect_to(at(&server, HOLDER), "holder", HOLDER);
    let file = holder.file(&site);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    let mut a = Client::connect_to(at(&server, ip), "a", ip);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON), expected(ip, false, b"cookie", &file, 7));
}

#[test]
fn a_lock_handed_to_a_client_that_cannot_be_reached_goes_to_the_next() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let config = site.path().join("c.toml");
    std::fs::write(&config, "unreachable_grant_s = 10\n").expect("written");
    let server = site.serve_with(&["--config", config.to_str().expect("text")]);
    // Neither of them has a port mapper.
    let [mut holder, mut gone, mut next] =
        [HOLDER, A, B].map(|from| Client::connect_from(&server, "c", from));
    let file = holder.file(&site);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    assert_eq!(gone.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(next.lock(&file, 8, TEN, WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    until(SOON, Err((7, 0, 10)), || holder.test(&file, 1, TEN, true));
    // Nobody was told, so nobody loses anything; the next asks again meanwhile, as clients do.
    until(std::time::Duration::from_secs(20), Stat::Granted, || next.lock(&file, 8, TEN, WAIT));
    // And the first waits anew where it asks again.
    assert_eq!(gone.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert!(server.log().contains("cannot be reached"), "{}", server.log());
}
