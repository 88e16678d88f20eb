//! Restarts with clients that come back, that do not, and that are gone without a restart. Fake
//! client hosts stand where callbacks matter, so most tests have a network of their own and need
//! root.

mod harness;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use cleat_nlm::wire::Stat;
use harness::host::{Host, own_boot, own_network};
use harness::{Client, EXCLUSIVE, RECLAIM, Server, Site, WAIT, until};

const SOON: Duration = Duration::from_secs(20);
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
const C: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));

fn serve(site: &Site, more: &[&str]) -> Server {
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let arguments = [&["--export", &export][..], more].concat();
    Server::start_at(site.path(), "*:2049", &arguments)
}

fn client(name: &str, from: IpAddr) -> Client {
    Client::connect_to(SocketAddr::new(SERVER, 2049), name, from)
}

#[test]
fn in_instant_mode_the_first_new_lock_is_granted_at_once_and_only_a_conflict_refused() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site, &[]);
    // Nobody answers at this client's address.
    let mut a = client("a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    let server = serve(&site, &["--recovery", "instant"]);
    let mut b = client("b", B);
    assert_eq!(b.lock(&file, 2, (1, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 2, (0, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.test(&file, 2, (0, 0), true), Err((1, 0, 1)));
    // Nothing that was acknowledged is missing: this was never b's.
    assert_eq!(b.lock(&file, 2, (5, 1), RECLAIM), Stat::Denied);
    let mut a = client("a", A);
    assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 1)), Stat::Granted);
    assert_eq!(b.lock(&file, 2, (0, 1), EXCLUSIVE), Stat::Granted);
    assert!(server.log().contains("no grace: the locks on record stand"));
}

#[test]
fn a_lock_of_a_client_out_of_reach_outlasts_the_window_and_goes_to_who_waits_after_the_hold() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site, &[]);
    let mut a = client("a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    let host_b = Host::new(B);
    let start = Instant::now();
    let server = serve(&site, &["--grace-s", "2", "--unreachable-hold-s", "4"]);
    let mut b = client("b", B);
    until(SOON, Stat::Granted, || b.lock(&file, 2, (1, 1), EXCLUSIVE));
    assert!(start.elapsed() >= Duration::from_secs(2), "not before the window was over");
    assert_eq!(b.lock(&file, 2, (0, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.lock(&file, 2, (0, 1), WAIT), Stat::Blocked);
    assert_eq!(host_b.granted(SOON).range, (0, 1));
    let log = server.log();
    assert!(log.contains("kept=1"), "{log}");
    let line = log.lines().find(|line| line.contains("locks are taken")).expect("a line");
    assert!(line.contains("nor acknowledge the restart"), "{line}");
    assert!(line.contains("a@127.0.0.3"), "{line}");
}

#[test]
fn a_client_that_was_told_and_did_not_reclaim_loses_its_locks_and_others_do_not() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site, &[]);
    let (mut a, mut c) = (client("a", A), client("c", C));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (2, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(c.lock(&file, 3, (4, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    // c's host is away.
    let host_a = Host::new(A);
    let server = serve(&site, &["--recovery", "instant", "--grace-s", "4"]);
    assert!(!host_a.notified(1, SOON).is_empty());
    let (mut a, mut b) = (client("a", A), client("b", B));
    assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
    assert_eq!(b.lock(&file, 2, (2, 1), EXCLUSIVE), Stat::Denied);
    until(SOON, Stat::Granted, || b.lock(&file, 2, (2, 1), EXCLUSIVE));
    assert_eq!(b.lock(&file, 2, (0, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.lock(&file, 2, (4, 1), EXCLUSIVE), Stat::Denied);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("locks are taken")).expect("a line");
    assert!(line.contains("it acknowledged the restart and did not reclaim"), "{line}");
    // It is not there for reclaiming any more.
    assert_eq!(a.lock(&file, 1, (2, 1), RECLAIM), Stat::Denied);
    assert_eq!(client("c", C).lock(&file, 3, (4, 1), RECLAIM), Stat::Granted);
}

#[test]
fn a_client_is_reached_by_its_first_answer_though_another_address_of_ours_is_gone() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site, &[]);
    let second = IpAddr::from([10, 9, 9, 1]);
    address("add", second);
    let mut a = client("a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    let mut other_way = Client::connect_to(SocketAddr::new(second, 2049), "a", A);
    assert_eq!(other_way.lock(&file, 1, (4, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    // No call can leave from there any more, and is tried for 15 minutes all the same.
    address("del", second);
    let host_a = Host::new(A);
    let server = serve(&site, &["--recovery", "instant", "--grace-s", "3"]);
    let notified = host_a.notified(1, SOON);
    assert!(notified.iter().all(|notice| notice.from == SERVER), "{notified:?}");
    let mut b = client("b", B);
    until(SOON, Stat::Granted, || b.lock(&file, 2, (0, 1), EXCLUSIVE));
    let log = server.log();
    assert!(log.contains("the client knows that this server restarted"), "{log}");
    let line = log.lines().find(|line| line.contains("locks are taken")).expect("a line");
    assert!(line.contains("it acknowledged the restart and did not reclaim"), "{line}");
}

/// Gives this network's loopback an address of ours, or takes it.
fn address(order: &str, ip: IpAddr) {
    let words = ["address", order, &format!("{ip}/32"), "dev", "lo"];
    assert!(Command::new("ip").args(words).status().expect("ip").success());
}

#[test]
fn a_recorded_waiter_is_called_back_after_the_restart_in_either_mode() {
    if !own_network() {
        return;
    }
    let host_b = Host::new(B);
    for mode in ["strict", "instant"] {
        let site = Site::new();
        let server = serve(&site, &[]);
        let (mut a, mut b) = (client("a", A), client("b", B));
        let file = a.file(&site);
        assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
        b.cookie = mode.into();
        assert_eq!(b.lock(&file, 2, (0, 10), WAIT), Stat::Blocked);
        server.kill();
        let server = serve(&site, &["--recovery", mode]);
        let mut a = client("a", A);
        assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
        host_b.not_granted(Duration::from_millis(300));
        assert_eq!(a.unlock(&file, 1, (0, 1)), Stat::Granted);
        let granted = host_b.granted(SOON);
        assert_eq!((granted.from, granted.range), (SERVER, (0, 10)), "{mode}");
        assert_eq!(granted.cookie, mode.as_bytes());
        assert_eq!(a.lock(&file, 1, (9, 1), EXCLUSIVE), Stat::Denied);
        server.kill();
    }
}

#[test]
fn who_waits_for_a_client_that_answers_nothing_gets_the_lock_after_the_lease() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (host_a, host_b, _host_c) = (Host::new(A), Host::new(B), Host::new(C));
    let server = serve(&site, &["--client-lease-s", "5"]);
    let (mut a, mut b, mut c) = (client("a", A), client("b", B), client("c", C));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (20, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(c.lock(&file, 3, (40, 1), EXCLUSIVE), Stat::Granted);
    host_a.silence(true);
    let start = Instant::now();
    for (first, length) in [(0, 5), (40, 5)] {
        assert_eq!(b.lock(&file, 2, (first, length), WAIT), Stat::Blocked);
    }
    assert_eq!(host_b.granted(SOON).range, (0, 5));
    assert!(start.elapsed() >= Duration::from_secs(5), "not before the lease was over");
    // c answers: its lease would have been over with a's, or be so at the next of the calls, which
    // come three times in a lease. And a's other lock is in nobody's way.
    host_b.not_granted(Duration::from_secs(3));
    assert_eq!(b.lock(&file, 2, (20, 1), EXCLUSIVE), Stat::Denied);
    let log = server.log();
    let taken: Vec<&str> = log.lines().filter(|line| line.contains("locks are taken")).collect();
    assert_eq!(taken.len(), 1, "{log}");
    assert!(taken[0].contains("others wait for them, and it has answered nothing for"));
    let path = site.export.join("file");
    let named = taken[0].contains("[0..=0] exclusive") && taken[0].contains(&format!("{path:?}"));
    assert!(named, "{}", taken[0]);
}

#[test]
fn a_clients_own_requests_keep_its_lease_without_an_answer() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let host_b = Host::new(B);
    let server = serve(&site, &["--client-lease-s", "5"]);
    let (mut a, mut b) = (client("a", A), client("b", B));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 2, (0, 1), WAIT), Stat::Blocked);
    // Longer than the lease, and than the time between two of its calls.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        host_b.not_granted(Duration::from_millis(500));
        assert_eq!(a.test(&file, 1, (50, 1), true), Ok(Stat::Granted));
    }
    assert!(server.log().contains("does not answer"));
    assert_eq!(host_b.granted(SOON).range, (0, 1));
}

#[test]
fn limits_of_the_configuration_are_kept() {
    let site = Site::new();
    let path = site.path().join("cleat.toml");
    let text = "[limits]\nlocks_per_client = 2\nwaiters_per_file = 1\n";
    std::fs::write(&path, text).expect("a file");
    let server = site.serve_with(&["--config", path.to_str().expect("text")]);
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    for (first, expected) in [(0, Stat::Granted), (2, Stat::Granted), (4, Stat::DeniedNolocks)] {
        assert_eq!(a.lock(&file, 1, (first, 1), EXCLUSIVE), expected);
    }
    let mut b = Client::connect_from(&server, "b", B);
    assert_eq!(b.lock(&file, 1, (4, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 2, (0, 1), WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 3, (0, 1), WAIT), Stat::DeniedNolocks);
}

/// A machine that can be rebooted, as far as a server can tell.
struct Machine {
    site: Site,
    boot_id: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let site = Site::new();
        let boot_id = site.path().join("boot_id");
        own_boot(&boot_id);
        Self { site, boot_id }
    }

    fn reboot(&self, boot_id: &str) {
        std::fs::write(&self.boot_id, boot_id).expect("another boot");
    }

    fn serve(&self, durability: &str, grace_s: &str) -> Server {
        let words = ["--recovery", "instant", "--durability", durability, "--grace-s", grace_s];
        serve(&self.site, &words)
    }

    /// What another client's request for a byte that was never locked is answered with, first of
    /// all, while a holds byte 0 on record.
    fn newcomer(&self) -> Stat {
        let mut b = client("b", B);
        let file = b.file(&self.site);
        let stat = b.lock(&file, 2, (1, 1), EXCLUSIVE);
        if stat == Stat::Granted {
            assert_eq!(b.lock(&file, 2, (0, 1), EXCLUSIVE), Stat::Denied);
            assert_eq!(b.unlock(&file, 2, (1, 1)), Stat::Granted);
        }
        stat
    }
}

#[test]
fn after_a_reboot_records_that_were_not_synced_are_advice_for_the_whole_window_in_instant_mode() {
    if !own_network() {
        return;
    }
    let machine = Machine::new();
    let server = machine.serve("process", "3");
    let mut a = client("a", A);
    let file = a.file(&machine.site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    machine.reboot("second");
    let start = Instant::now();
    let server = machine.serve("process", "3");
    let mut a = client("a", A);
    assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
    // It may have been acknowledged and lost with the machine, and so may another's.
    assert_eq!(a.lock(&file, 1, (5, 1), RECLAIM), Stat::Granted);
    assert_eq!(machine.newcomer(), Stat::DeniedGracePeriod);
    until(SOON, Stat::Granted, || machine.newcomer());
    assert!(start.elapsed() >= Duration::from_secs(3), "open to its end though all is reclaimed");
    assert!(server.log().contains("3 s at most, in any case"));
    server.kill();
    let _server = machine.serve("process", "60");
    assert_eq!(machine.newcomer(), Stat::Granted, "the window made good what was lost");
}

#[test]
fn after_a_reboot_records_that_were_synced_are_exact() {
    if !own_network() {
        return;
    }
    let machine = Machine::new();
    let server = machine.serve("power", "60");
    let mut a = client("a", A);
    let file = a.file(&machine.site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    machine.reboot("second");
    let server = machine.serve("power", "60");
    assert_eq!(machine.newcomer(), Stat::Granted);
    let mut a = client("a", A);
    assert_eq!(a.lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (5, 1), RECLAIM), Stat::Denied, "it is not on record");
    assert!(server.log().contains("no grace: the locks on record stand"));
}

#[test]
fn a_window_over_advice_that_is_cut_off_is_held_again_whatever_is_synced_meanwhile() {
    if !own_network() {
        return;
    }
    let machine = Machine::new();
    let server = machine.serve("process", "60");
    let mut a = client("a", A);
    let file = a.file(&machine.site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    machine.reboot("second");
    for (durability, grace_s) in [("process", "60"), ("power", "60"), ("power", "2")] {
        let start = Instant::now();
        let server = machine.serve(durability, grace_s);
        assert_eq!(machine.newcomer(), Stat::DeniedGracePeriod, "{durability}");
        assert_eq!(client("a", A).lock(&file, 1, (0, 1), RECLAIM), Stat::Granted);
        assert_eq!(machine.newcomer(), Stat::DeniedGracePeriod, "{durability}");
        if grace_s == "2" {
            until(SOON, Stat::Granted, || machine.newcomer());
            assert!(start.elapsed() >= Duration::from_secs(2));
        }
        server.kill();
    }
    let _server = machine.serve("power", "60");
    assert_eq!(machine.newcomer(), Stat::Granted);
}

#[test]
fn the_grade_that_a_reboot_is_judged_by_is_that_of_the_last_instance_before_it() {
    if !own_network() {
        return;
    }
    let machine = Machine::new();
    let server = machine.serve("process", "60");
    let mut a = client("a", A);
    let file = a.file(&machine.site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    // What is there when an instance starts is on the disk before it grants anything.
    for (durability, boot_id, expected) in [
        ("power", "first", Stat::Granted),
        ("process", "second", Stat::Granted),
        ("power", "second", Stat::Granted),
        ("process", "third", Stat::Granted),
        ("power", "fourth", Stat::DeniedGracePeriod),
    ] {
        machine.reboot(boot_id);
        let server = machine.serve(durability, "60");
        assert_eq!(machine.newcomer(), expected, "{durability} in the {boot_id} boot");
        server.kill();
    }
}
