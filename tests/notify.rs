//! SM_NOTIFY from end to end: a restarted server tells fake client hosts. Each test has a network
//! of its own, so it needs root.

mod harness;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use cleat_nlm::wire::Stat;
use harness::host::{Host, Notified, link_local, own_network};
use harness::{Client, EXCLUSIVE, RECLAIM, Server, Site};

const SOON: Duration = Duration::from_secs(10);
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
const SILENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
/// The addresses of the server that clients mounted.
const SERVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11))];

fn serve(site: &Site) -> Server {
    let export = format!("{}:rw,no_root_squash", site.export.display());
    Server::start_at(site.path(), "*:2049", &["--export", &export])
}

fn at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 2049)
}

/// Takes a byte, and gives the handle of the file.
fn lock(site: &Site, client: &mut Client, svid: u32, byte: u64) -> Vec<u8> {
    let file = Client::connect_to(at(SERVER[0]), "finder", SILENT).file(site);
    assert_eq!(client.lock(&file, svid, (byte, 1), EXCLUSIVE), Stat::Granted);
    file
}

/// What a host hears: each address of the server under its own name and the system's, with its
/// domain and without.
fn expected(addresses: &[IpAddr], state: i32) -> BTreeSet<Notified> {
    let system = rustix::system::uname();
    let (host, domain) = (system.nodename().to_string_lossy(), system.domainname());
    let mut names = vec![host.clone().into_owned()];
    match (host.split_once('.'), domain.to_string_lossy()) {
        (Some((name, _)), _) => names.push(name.to_owned()),
        (None, domain) if domain.is_empty() || domain == "(none)" => {}
        (None, domain) => names.push(format!("{host}.{domain}")),
    }
    let with_its_own = |&from: &IpAddr| {
        let own = std::iter::once(from.to_string());
        let all: Vec<_> = own.chain(names.clone()).map(move |name| (from, name)).collect();
        all
    };
    let all = addresses.iter().flat_map(with_its_own);
    all.map(|(from, name)| Notified { from, name, state }).collect()
}

/// Waits until a host has heard all of this. What it hears besides can only be what it heard: an
/// attempt that was cut off, on a machine that has much to do, is made again.
fn hears(host: &Host, expected: &BTreeSet<Notified>, before: &BTreeSet<Notified>) {
    let mut heard = BTreeSet::new();
    while heard.len() < expected.len() {
        let next = host.notified(1, SOON).pop();
        let next = next.unwrap_or_else(|| panic!("of {expected:?} only {heard:?} came"));
        if expected.contains(&next) {
            heard.insert(next);
        } else {
            assert!(before.contains(&next), "{next:?}");
        }
    }
}

#[test]
fn each_start_tells_every_client_from_each_address_that_it_used() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site);
    lock(&site, &mut Client::connect_to(at(SERVER[0]), "a", A), 1, 0);
    lock(&site, &mut Client::over_udp(at(SERVER[1]), "a", A), 1, 1);
    lock(&site, &mut Client::over_udp(at(SERVER[1]), "b", B), 1, 2);
    // Who never answers holds up nobody.
    lock(&site, &mut Client::connect_to(at(SERVER[0]), "silent", SILENT), 1, 3);
    server.kill();
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut before = BTreeSet::new();
    for state in [3, 5] {
        let server = serve(&site);
        hears(&host_a, &expected(&SERVER, state), &before);
        hears(&host_b, &expected(&SERVER[1..], state), &before);
        before = expected(&SERVER, state);
        server.kill();
    }
}

/// One that mounted by a name, and whose status monitor compares names alone.
#[test]
fn clients_are_told_under_the_names_that_an_administrator_gave_too() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let config = site.path().join("cleat.toml");
    std::fs::write(&config, "notify_names = [\"nas.example.org\", \"files\"]\n").expect("a file");
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let more = ["--export", &export, "--config", config.to_str().expect("text")];
    let serve = || Server::start_at(site.path(), "*:2049", &more);
    let server = serve();
    lock(&site, &mut Client::connect_to(at(SERVER[0]), "a", A), 1, 0);
    server.kill();
    let host = Host::new(A);
    let _server = serve();
    let mut all = expected(&SERVER[..1], 3);
    for name in ["nas.example.org", "files"] {
        all.insert(Notified { from: SERVER[0], name: name.into(), state: 3 });
    }
    hears(&host, &all, &BTreeSet::new());
}

#[test]
fn a_client_over_ipv6_is_told_over_it_and_its_reclaim_is_its_own() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site);
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let file = lock(&site, &mut Client::connect_to(at(ip), "a", ip), 1, 0);
    server.kill();
    let host = Host::new(ip);
    let _server = serve(&site);
    hears(&host, &expected(&[ip], 3), &BTreeSet::new());
    let mut other = Client::connect_to(at(SERVER[0]), "a", A);
    assert_eq!(other.lock(&file, 1, (0, 1), RECLAIM), Stat::Denied);
    let mut a = Client::connect_to(at(ip), "a", ip);
    assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
    // That was the last lock on record.
    assert_eq!(other.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Granted);
    a.notify("a", 3);
    assert_eq!(other.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
}

/// A status monitor that missed the answer announces the restart again, by a new call. By then the
/// host may hold locks, and not all clients say in them the state that was announced.
#[test]
fn a_restart_that_is_announced_again_takes_nothing_from_the_new_life() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let _server = serve(&site);
    let mut a = Client::connect_to(at(SERVER[0]), "a", A);
    a.state = 0;
    let file = lock(&site, &mut a, 1, 0);
    let mut other = Client::connect_to(at(SERVER[0]), "b", B);
    let mut free = |byte| other.lock(&file, 1, (byte, 1), EXCLUSIVE) == Stat::Granted;
    // From a new port each time, as from another process.
    let announce = |state| Client::connect_to(at(SERVER[0]), "a", A).notify("a", state);
    announce(5);
    assert!(free(0), "the first is heard");
    assert_eq!(a.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Granted);
    announce(5);
    announce(5);
    assert!(!free(1), "it lives");
    announce(7);
    assert!(free(1), "it restarted again");
}

/// Only who asked for a lock is a client of the lock service: other names from its address do not
/// make it ambiguous who restarted.
#[test]
fn a_name_that_locked_nothing_does_not_hide_who_restarted() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let _server = serve(&site);
    let mut a = Client::connect_to(at(SERVER[0]), "a", A);
    let file = lock(&site, &mut a, 1, 0);
    let mut other = Client::connect_to(at(SERVER[0]), "other", A);
    assert_eq!(other.test(&file, 1, (0, 1), true), Err((1, 0, 1)));
    assert_eq!(other.unlock(&file, 1, (0, 1)), Stat::Granted);
    assert_eq!(other.cancel(&file, 1, (0, 1), true), Stat::Granted);
    assert_eq!(other.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Denied);
    a.notify("127.0.0.3", 3);
    assert_eq!(other.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
}

/// A link-local address says nothing without its interface, whose number is on no record.
#[test]
fn a_client_at_a_link_local_address_is_told_on_its_link() {
    if !own_network() {
        return;
    }
    let of = link_local();
    let site = Site::new();
    let server = serve(&site);
    lock(&site, &mut Client::connect_at(of(1, 2049), "a", of(2, 0)), 1, 0);
    server.kill();
    let host = Host::at(of(2, 0));
    let _server = serve(&site);
    hears(&host, &expected(&[of(1, 0).ip()], 3), &BTreeSet::new());
}
